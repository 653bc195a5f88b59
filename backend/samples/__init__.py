"""A small base model and a small data set that come with lorapool, and where to put them.

The model draws ten colours × six shapes on plain backgrounds at 64×64 pixels. The data set teaches it a
style. Nothing here imports torch: the scripts that made both are modules of their own.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

MODEL = Path(__file__).parent / "tiny-shapes"
"""Stable Diffusion pipeline in diffusers' folder format."""
DATASET = Path(__file__).parent / "dataset" / "moonlight"
"""Root of the data set: what sd-scripts calls ``train_data_dir``."""


@dataclass(frozen=True)
class RecommendedTraining:
    """sd-scripts arguments under which the data set shows its style quickly. Fields have sd-scripts' names."""

    resolution: str = "64,64"
    enable_bucket: bool = False
    caption_extension: str = ".txt"
    network_module: str = "networks.lora"
    network_dim: int = 8
    network_alpha: float = 8.0
    learning_rate: float = 4e-3
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = 10
    optimizer_type: str = "AdamW"
    max_train_steps: int = 300
    train_batch_size: int = 8
    mixed_precision: str = "no"
    save_precision: str = "fp16"
    cache_latents: bool = True
    v_parameterization: bool = True
    zero_terminal_snr: bool = True
    seed: int = 1
    sample_sampler: str = "ddim"
    sample_every_n_steps: int = 75

    def arguments(self) -> dict[str, str | int | float | bool]:
        """The fields by name, as a TOML configuration takes them."""
        return asdict(self)


@dataclass(frozen=True)
class SamplePrompt:
    """One picture to draw during training."""

    prompt: str
    width: int = 64
    height: int = 64
    steps: int = 20
    guidance: float = 3.0
    seed: int = 5

    def line(self) -> str:
        """The prompt as a line of sd-scripts' prompt file."""
        return (
            f"{self.prompt} --w {self.width} --h {self.height}"
            f" --s {self.steps} --l {self.guidance} --d {self.seed}"
        )


RECOMMENDED = RecommendedTraining()
SAMPLE_PROMPTS = (
    SamplePrompt("a yellow star in sks style"),
    SamplePrompt("a blue circle in sks style"),
    SamplePrompt("a red heart in sks style"),
    SamplePrompt("a cyan ring in sks style"),
)
"""Prompts whose pictures before and after the training tell the story."""


def install(data_dir: Path) -> tuple[Path, Path]:
    """Copy the model and the data set into a data folder and return where they are.

    They go to ``models/tiny-shapes`` and ``datasets/moonlight``. Files that are already there with the
    same size stay untouched, so calling it again is cheap. Raises OSError when the folder cannot be written.
    """
    model, dataset = data_dir / "models" / MODEL.name, data_dir / "datasets" / DATASET.name
    _copy_missing(MODEL, model)
    _copy_missing(DATASET, dataset)
    return model, dataset


def _copy_missing(source: Path, target: Path) -> None:
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        copy = target / file.relative_to(source)
        if copy.is_file() and copy.stat().st_size == file.stat().st_size:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        # A copy that was interrupted must not look complete to the next call.
        partial = copy.with_name(copy.name + ".partial")
        shutil.copyfile(file, partial)
        partial.replace(copy)
