"""The built-in trainer beside a plain diffusers + peft loop: optimizer steps a second, and peak memory.

The same model, pictures, batch, rank, targets and precision, each in a process of its own, in turn. The trainer has its
caches on; the plain loop encodes pictures and captions at every step, as diffusers' examples do. Models: the tiny one
that ships with the project (U-Net alone, and with the text encoder), and one of Stable Diffusion 1.5's true shape with
random weights. `LORAPOOL_BENCHMARK_MODEL` names a folder to keep that one in. Where there is a GPU, that shape alone is
measured, on it, at 512 px and in bf16.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

import backend.samples

TINY = Path(backend.samples.__file__).parent / "tiny-shapes"


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison."""

    name: str
    model: Path
    resolution: int
    batch: int
    steps: int
    rounds: int
    with_text: bool
    precision: str = "no"


def main() -> None:
    """Measure, print a table."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = _pictures(Path(folder) / "pictures")
        large = Path(os.environ.get("LORAPOOL_BENCHMARK_MODEL") or Path(folder) / "sd15")
        if not (large / "model_index.json").is_file():
            _write_sd15(large)
        cases = (
            Case("tiny, U-Net", TINY, 64, 4, 30, 2, with_text=False),
            Case("tiny, U-Net and text encoder", TINY, 64, 4, 30, 2, with_text=True),
            Case("SD1.5 shape, U-Net, 64 px", large, 64, 1, 9, 1, with_text=False),
        )
        if torch.cuda.is_available():
            cases = (
                Case(
                    "SD1.5 shape, U-Net, 512 px, bf16",
                    large,
                    512,
                    4,
                    60,
                    3,
                    with_text=False,
                    precision="bf16",
                ),
                Case(
                    "SD1.5 shape, all, 512 px, bf16", large, 512, 4, 60, 3, with_text=True, precision="bf16"
                ),
            )
        chosen = [
            case for case in cases if not sys.argv[2:] or any(word in case.name for word in sys.argv[2:])
        ]
        print(
            "| | trainer steps/s | plain steps/s | ratio | processor s/step, trainer and plain | ratio ",
            end="",
        )
        print(
            "| trainer MiB | plain MiB | waited for data |\n|---|---|---|---|---|---|---|---|---|", flush=True
        )
        for case in chosen:
            _compare(case, pictures, Path(folder))


def _compare(case: Case, pictures: Path, folder: Path) -> None:
    ours, plain = [], []
    for number in range(case.rounds):
        ours.append(_run("_trainer_run", *_arguments(case, pictures, folder / f"out-{number}")))
        plain.append(_run("_plain_loop", _task(case, pictures)))
    pairs = list(zip(ours, plain, strict=True))
    faster = statistics.median(a["rate"] / b["rate"] for a, b in pairs)
    less = statistics.median(b["processor"] / a["processor"] for a, b in pairs)
    worked = [statistics.median(one["processor"] for one in side) for side in (ours, plain)]
    cells = (
        case.name,
        f"{statistics.median(one['rate'] for one in ours):.2f}",
        f"{statistics.median(one['rate'] for one in plain):.2f}",
        f"{faster:.2f}",
        f"{worked[0]:.3f}, {worked[1]:.3f}",
        f"{less:.2f}",
        f"{max(one['peak'] for one in ours):.0f}",
        f"{max(one['peak'] for one in plain):.0f}",
        f"{max(one['waited'] for one in ours):.1f} %",
    )
    print("| " + " | ".join(cells) + " |", flush=True)


def _arguments(case: Case, pictures: Path, out: Path) -> list[str]:
    words = [
        *("--pretrained_model_name_or_path", str(case.model), "--train_data_dir", str(pictures)),
        *("--output_dir", str(out), "--output_name", "bench", "--caption_extension", ".txt"),
        *("--resolution", str(case.resolution), "--train_batch_size", str(case.batch)),
        *(
            "--mixed_precision",
            case.precision,
            "--max_train_steps",
            str(case.steps),
            "--network_dim",
            "8",
            "--network_alpha",
            "8",
        ),
        *("--learning_rate", "1e-4", "--lr_scheduler", "constant", "--seed", "1", "--cache_latents"),
    ]
    return words if case.with_text else [*words, "--network_train_unet_only", "--cache_text_encoder_outputs"]


def _task(case: Case, pictures: Path) -> str:
    values: dict[str, Any] = {
        "model": str(case.model),
        "pictures": str(pictures / "1_circles"),
        "resolution": case.resolution,
        "batch": case.batch,
        "steps": case.steps,
        "rank": 8,
        "rate": 1e-4,
        "with_text": case.with_text,
        "precision": case.precision,
    }
    return json.dumps(values)


def _run(module: str, *words: str) -> dict[str, float]:
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *words],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _pictures(parent: Path) -> Path:
    folder = parent / "1_circles"
    folder.mkdir(parents=True)
    for number in range(16):
        image = Image.new("RGB", (64, 64), "#101030")
        ImageDraw.Draw(image).ellipse((8 + number, 12, 40 + number, 44), fill=(15 * number, 90, 200))
        image.save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(f"a circle on dark ground, number {number}")
    return parent


def _write_sd15(folder: Path) -> None:
    """Stable Diffusion 1.5's shape with random weights, kept in bf16 to halve the disk it takes."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from backend.training import clip_vocabulary

    warnings.simplefilter("ignore")
    ends = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    text = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, **ends
    )
    widths = (128, 256, 512, 512)
    models: dict[str, Any] = {
        "unet": lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        "vae": lambda: AutoencoderKL(
            block_out_channels=widths,
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        "text_encoder": lambda: CLIPTextModel(text),
    }
    for name, make in models.items():
        with torch.device("meta"):
            model = make().to(torch.bfloat16)
        model.to_empty(device="cpu")
        for key, weight in model.named_parameters():
            _fill(key, weight.data)
        model.save_pretrained(folder / name)
    clip_vocabulary.tokenizer().save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    scheduler = {
        "_class_name": "DDPMScheduler",
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
    }
    scheduler |= {"beta_start": 0.00085, "beta_end": 0.012}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def _fill(name: str, weight: Any) -> None:
    """Small random numbers, ones in norms, zeros in biases."""
    if weight.dim() > 1:
        weight.uniform_(-0.03, 0.03)
    else:
        weight.fill_(0.0 if name.endswith("bias") else 1.0)


if __name__ == "__main__":
    main()
