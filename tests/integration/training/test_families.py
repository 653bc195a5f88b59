from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from peft.tuners.lora import LoraLayer
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from backend.records import FileWritten
from backend.training import lora_file
from tests.integration.training.runs import Run, Trainer
from tests.support.models import small_file, small_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_folder(tmp_path_factory.mktemp("model") / "sdxl", "sdxl")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of two shapes with alpha, each half transparent."""
    parent = tmp_path_factory.mktemp("pictures")
    (parent / "1_sks style").mkdir()
    for number in range(8):
        size = (32, 32) if number % 2 else (48, 32)
        image = Image.new("RGBA", size, (30 * number, 90, 200, 255))
        image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
        image.save(parent / "1_sks style" / f"{number}.png")
        (parent / "1_sks style" / f"{number}.txt").write_text(f"a (red:1.3) circle {number}, sks style")
    return parent


def _common(model: Path, data: Path, out: Path) -> list[str]:
    return [
        *("--pretrained_model_name_or_path", str(model), "--train_data_dir", str(data)),
        *(
            "--output_dir",
            str(out),
            "--output_name",
            "own",
            "--resolution",
            "32",
            "--caption_extension",
            ".txt",
        ),
        *("--enable_bucket", "--bucket_no_upscale", "--bucket_reso_steps", "16", "--train_batch_size", "2"),
        *("--max_train_steps", "6", "--seed", "5", "--network_dim", "2", "--learning_rate", "1e-3"),
    ]


def _losses(log: Path, tag: str = "loss/current") -> list[float]:
    (events,) = log.glob("*/network_train")
    return [event.value for event in EventAccumulator(str(events)).Reload().Scalars(tag)]


@pytest.fixture(scope="module")
def sdxl(trainer: Trainer, folder: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """SDXL with both text encoders, samples, validation, and everything else that touches them."""
    tmp_path = tmp_path_factory.mktemp("sdxl")
    (tmp_path / "prompts.txt").write_text("a red circle --w 32 --h 32 --s 2 --d 1\n")
    return trainer.run(
        tmp_path,
        *_common(folder, data, tmp_path / "out"),
        *("--logging_dir", str(tmp_path / "log"), "--text_encoder_lr", "1e-3", "5e-4"),
        *("--sample_prompts", str(tmp_path / "prompts.txt"), "--sample_every_n_steps", "6"),
        *("--validation_split", "0.25", "--validate_every_n_steps", "2", "--max_validation_steps", "2"),
        *("--max_token_length", "150", "--weighted_captions", "--flip_aug", "--color_aug"),
    )


def test_an_sdxl_lora_has_both_text_encoders_and_loads_in_diffusers(sdxl: Run, folder: Path) -> None:
    assert sdxl.wait() == 0, sdxl.errors
    path = sdxl.folder / "out" / "own.safetensors"
    tensors = load_file(path)
    assert path.stat().st_mode & 0o777 == 0o644
    assert {name.split("_")[1] for name in tensors} == {"te1", "te2", "unet"}
    assert "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k.lora_down.weight" in tensors
    learned = {n.split("_")[1] for n, t in tensors.items() if "lora_up" in n and bool(t.abs().max() > 0)}
    assert learned == {"te1", "te2", "unet"}
    assert lora_file.read_metadata(path)["ss_base_model_version"] == "sdxl_base_v1-0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import StableDiffusionXLPipeline

        pipe = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
        pipe.load_lora_weights(path.parent, weight_name=path.name)
    models = (pipe.unet, pipe.text_encoder, pipe.text_encoder_2)
    adapted = sum(isinstance(module, LoraLayer) for model in models for module in model.modules())
    assert 3 * adapted == len(tensors)


def test_it_draws_and_validates_while_it_trains(sdxl: Run) -> None:
    (sample,) = [r for r in sdxl.records if isinstance(r, FileWritten) and r.kind == "sample"]
    with Image.open(sample.path) as image:
        assert image.size == (32, 32)
    validated = _losses(sdxl.folder / "log", "loss/validation/step_average")
    assert len(validated) == 3 and "validation loss" in sdxl.log
    assert "num train images * repeats: 6" in sdxl.log  # two of the eight are held back
    (events,) = (sdxl.folder / "log").glob("*/network_train")
    names = set(EventAccumulator(str(events)).Reload().Tags()["scalars"])
    assert {"lr/textencoder1", "lr/textencoder2", "lr/unet"} <= names


def test_cached_texts_change_nothing_and_lie_outside_the_data(
    trainer: Trainer, folder: Path, data: Path, tmp_path: Path
) -> None:
    # Given a data set that nobody can write to
    more = ["--network_train_unet_only", "--cache_latents", "--alpha_mask"]
    before = sorted(data.rglob("*"))
    (data / "1_sks style").chmod(0o555)
    runs = []
    caches = (["--cache_text_encoder_outputs_to_disk", "--cache_latents_to_disk"],) * 2
    for number, cached in enumerate(([], *caches)):
        out = tmp_path / str(number)
        run = trainer.start(
            out,
            *_common(folder, data, out),
            *("--logging_dir", str(out / "log"), *more, *cached),
            env={"LORAPOOL_CACHE_DIR": str(tmp_path / "cache")},
        )
        assert run.wait() == 0, run.errors
        runs.append(_losses(out / "log"))
    (data / "1_sks style").chmod(0o755)
    # Then the losses are those of a run that caches nothing on disk, also when the files were there already
    assert runs[1] == pytest.approx(runs[0], abs=0.05)
    assert runs[2] == pytest.approx(runs[1], abs=1e-6)
    assert sorted(data.rglob("*")) == before
    assert len(list((tmp_path / "cache" / "text").rglob("*.safetensors"))) == 8
    assert len(list((tmp_path / "cache" / "latents").rglob("*.safetensors"))) == 8


def test_a_single_file_of_stable_diffusion_2_trains_in_bf16_on_top_of_another_lora(
    trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    model = small_file(tmp_path / "sd2.safetensors", "sd2")
    first = trainer.run(tmp_path / "a", *_common(model, data, tmp_path / "a"), "--v2", "--v_parameterization")
    assert first.wait() == 0, first.errors
    lora = tmp_path / "a" / "own.safetensors"
    assert lora_file.read_metadata(lora)["ss_base_model_version"] == "sd_v2_768_v"
    second = trainer.run(
        tmp_path / "b",
        *_common(model, data, tmp_path / "b"),
        *("--v2", "--v_parameterization", "--mixed_precision", "bf16", "--full_bf16"),
        *("--base_weights", str(lora), "--base_weights_multiplier", "0.5", "--masked_loss", "--alpha_mask"),
    )
    assert second.wait() == 0, second.errors
    assert f"merged {lora}" in second.log
    tensors = load_file(tmp_path / "b" / "own.safetensors")
    assert tensors.keys() == load_file(lora).keys()
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
