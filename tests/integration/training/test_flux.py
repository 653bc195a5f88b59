"""FLUX.1 from a command line to a file that other programs draw with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from peft.tuners.lora import LoraLayer
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from backend.inference import lora_deltas
from backend.inference import model as drawing
from backend.inference.catalog import Catalog
from backend.inference.model import Applied
from backend.records import FileWritten
from backend.training import lora_file
from tests.integration.training.runs import Run, Trainer
from tests.support.flux_models import small_flux_files, small_flux_folder

STEPS = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a small FLUX and eight pictures of two shapes, each half transparent."""
    root = tmp_path_factory.mktemp("data")
    small_flux_folder(root / "models" / "flux")
    folder = root / "pictures" / "1_sks style"
    folder.mkdir(parents=True)
    for number in range(8):
        size = (32, 32) if number % 2 else (48, 32)
        image = Image.new("RGBA", size, (30 * number, 90, 200, 255))
        image.paste((0, 0, 0, 0), (0, 0, size[0] // 2, size[1]))
        image.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a red circle {'abcdefgh'[number]}, sks style")
    (root / "prompts.txt").write_text(
        "a red circle --w 32 --h 32 --s 2 --d 1\nblue --n red --w 32 --h 48 --s 2 --d 1 --g 2 --l 3\n"
    )
    return root


def common(place: Path, out: Path, *model: str) -> list[str]:
    return [
        *(model or ("--pretrained_model_name_or_path", str(place / "models" / "flux"))),
        *("--train_data_dir", str(place / "pictures"), "--output_dir", str(out), "--output_name", "own"),
        *("--resolution", "32", "--caption_extension", ".txt", "--train_batch_size", "2", "--seed", "5"),
        *("--enable_bucket", "--bucket_no_upscale", "--bucket_reso_steps", "16"),
        *("--max_train_steps", str(STEPS), "--network_module", "networks.lora_flux", "--network_dim", "8"),
        *("--timestep_sampling", "flux_shift", "--model_prediction_type", "raw", "--guidance_scale", "1"),
        *("--t5xxl_max_token_length", "32", "--logging_dir", str(out / "log")),
    ]


def scalars(log: Path, tag: str = "loss/current") -> list[float]:
    (events,) = log.glob("*/network_train")
    return [event.value for event in EventAccumulator(str(events)).Reload().Scalars(tag)]


@pytest.fixture(scope="module")
def whole(trainer: Trainer, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with CLIP, masks and everything else that touches them; its state in the middle is kept."""
    out = tmp_path_factory.mktemp("whole")
    return trainer.run(
        out,
        *common(place, out),
        *("--learning_rate", "2e-2", "--network_args", "in_dims=2,2,2,2,2"),
        *("--masked_loss", "--alpha_mask", "--apply_t5_attn_mask", "--gradient_checkpointing", "--flip_aug"),
        *("--sample_prompts", str(place / "prompts.txt"), "--sample_every_n_steps", str(STEPS)),
        *("--validation_split", "0.25", "--validate_every_n_steps", str(STEPS - 1)),
        *("--save_every_n_steps", "8", "--save_state"),
    )


def test_it_learns_and_draws_and_says_so_as_other_families_do(whole: Run) -> None:
    assert whole.wait() == 0, whole.errors
    assert "LoRA modules:" in whole.log and "train CLIP" not in whole.log
    sizes = []
    for record in whole.records:
        if isinstance(record, FileWritten) and record.kind == "sample":
            with Image.open(record.path) as image:
                sizes.append(image.size)
    assert sizes == [(32, 32), (32, 48)]
    first, *_, last = scalars(whole.folder / "log", "loss/validation/step_average")
    losses = scalars(whole.folder / "log")
    assert len(losses) == STEPS and last <= first
    assert sum(losses[-3:]) < sum(losses[:3])


def test_the_file_is_sd_scripts_and_draws_in_diffusers_and_in_our_engine(whole: Run, place: Path) -> None:
    path = whole.folder / "own.safetensors"
    tensors, metadata = load_file(path), lora_file.read_metadata(path)
    assert {name.split("_")[1] for name in tensors} == {"te1", "unet"}
    assert "lora_unet_double_blocks_1_txt_attn_qkv.lora_up.weight" in tensors
    assert "lora_unet_guidance_in_in_layer.alpha" in tensors
    assert metadata["ss_base_model_version"] == "flux1" and metadata["ss_timestep_sampling"] == "flux_shift"
    assert metadata["modelspec.architecture"] == "flux-1-dev/lora"
    assert "modelspec.prediction_type" not in metadata
    assert json.loads(metadata["ss_network_args"])["in_dims"] == "2,2,2,2,2"

    # diffusers takes the first layer of single blocks apart at FLUX.1's true width only, and misreads input layers
    others = ("_linear1.", "_in.", "_in_")
    blocks = {name: tensor for name, tensor in tensors.items() if not any(other in name for other in others)}
    pipeline: Any = FluxPipeline.from_pretrained(place / "models" / "flux", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    plain = drawn(pipeline)
    pipeline.load_lora_weights(dict(blocks))
    models = (pipeline.transformer, pipeline.text_encoder)
    adapted = sum(isinstance(module, LoraLayer) for model in models for module in model.modules())
    fused = sum("qkv.alpha" in name for name in blocks)
    assert adapted == len(blocks) // 3 + 2 * fused
    theirs = drawn(pipeline)

    engine = drawing.load(Catalog(place).model("flux"), torch.device("cpu"), torch.float32)
    whole_file = lora_deltas.read(path, "loras", torch.device("cpu"))
    part = replace(
        whole_file, modules={n: f for n, f in whole_file.modules.items() if f"{n}.alpha" in blocks}
    )
    engine.use([Applied("part", part, 1.0)])
    torch.testing.assert_close(drawn(engine.pipeline), theirs, atol=2e-3, rtol=0)
    engine.use([Applied("own", whole_file, 1.0)])
    ours = drawn(engine.pipeline)
    assert float((theirs - plain).abs().max()) > 0.01 and float((ours - theirs).abs().max()) > 0.01


def drawn(pipeline: Any) -> Tensor:
    picture = pipeline(
        "a red circle",
        num_inference_steps=2,
        width=32,
        height=32,
        max_sequence_length=32,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    ).images
    return torch.from_numpy(picture)


def test_an_interrupted_run_is_the_uninterrupted_one(
    trainer: Trainer, whole: Run, place: Path, tmp_path: Path
) -> None:
    (state,) = whole.folder.glob("own-step00000008-state")
    resumed = trainer.run(
        tmp_path,
        *common(place, tmp_path),
        *("--learning_rate", "2e-2", "--network_args", "in_dims=2,2,2,2,2"),
        *("--masked_loss", "--alpha_mask", "--apply_t5_attn_mask", "--gradient_checkpointing", "--flip_aug"),
        *("--validation_split", "0.25", "--resume", str(state)),
    )
    assert resumed.wait() == 0, resumed.errors
    assert scalars(tmp_path / "log") == scalars(whole.folder / "log")[8:]
    one, other = (load_file(run.folder / "own.safetensors") for run in (whole, resumed))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_four_files_with_all_caches_in_8_bits_on_top_of_another_lora(
    trainer: Trainer, whole: Run, place: Path, tmp_path: Path
) -> None:
    files = small_flux_files(tmp_path / "files")
    cache = {"LORAPOOL_CACHE_DIR": str(tmp_path / "cache")}
    run = trainer.start(
        tmp_path,
        *common(
            place, tmp_path, *(word for name, path in files.items() for word in (f"--{name}", str(path)))
        ),
        *("--network_train_unet_only", "--cache_text_encoder_outputs_to_disk", "--cache_latents_to_disk"),
        *(
            "--gradient_checkpointing",
            "--fp8_base",
            "--mixed_precision",
            "bf16",
            "--full_bf16",
            "--learning_rate",
            "1e-3",
        ),
        *("--base_weights", str(whole.folder / "own.safetensors"), "--base_weights_multiplier", "0.5"),
        env=cache,
    )
    assert run.wait() == 0, run.errors
    tensors = load_file(tmp_path / "own.safetensors")
    assert len(tensors) == 3 * (2 * 10 + 2 * 3) and not any("_te" in name for name in tensors)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    assert any(bool(tensor.abs().max() > 0) for name, tensor in tensors.items() if "lora_up" in name)
    assert len(list((tmp_path / "cache" / "text").rglob("*.safetensors"))) == 8
