from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from backend.records import FileWritten, Phase, Progress, Result
from backend.training import lora_file
from tests.integration.training.runs import ENVIRONMENT, MODEL, ROOT, Run, Trainer

PROMPT = "a red circle, sks style --n blurry --d 5 --s 8 --l 4"


@pytest.fixture(scope="module")
def finished(
    trainer: Trainer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Run:
    """One run with everything on, that the tests below look at from all sides."""
    tmp_path = tmp_path_factory.mktemp("whole")
    pictures = request.getfixturevalue("module_pictures")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(f"# a comment\n{PROMPT}\n")
    return trainer.run(
        tmp_path,
        *("--pretrained_model_name_or_path", str(MODEL), "--train_data_dir", str(pictures)),
        *("--output_dir", str(tmp_path / "out"), "--output_name", "circles"),
        *("--resolution", "64", "--caption_extension", ".txt", "--train_batch_size", "3"),
        *("--max_train_epochs", "3", "--seed", "11", "--network_dim", "4", "--network_alpha", "2"),
        *("--learning_rate", "4e-3", "--cache_latents", "--save_precision", "fp16"),
        *("--save_every_n_epochs", "1", "--save_every_n_steps", "5", "--save_last_n_steps", "5"),
        *("--sample_prompts", str(prompts), "--sample_every_n_epochs", "3", "--sample_at_first"),
        *("--logging_dir", str(tmp_path / "log"), "--min_snr_gamma", "5", "--shuffle_caption", "--flip_aug"),
        *("--lr_scheduler", "cosine", "--lr_warmup_steps", "0.1", "--mixed_precision", "fp16"),
    )


@pytest.fixture(scope="module")
def module_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("pictures")
    folder = parent / "2_sks style"
    folder.mkdir()
    for number, colour in enumerate(
        ("red", "green", "blue", "yellow", "purple", "orange", "white", "pink", "cyan")
    ):
        Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a {colour} circle, sks style")
    return parent


def _final(run: Run) -> Path:
    return run.folder / "out" / "circles.safetensors"


def test_it_succeeds_and_says_so(finished: Run) -> None:
    assert finished.wait() == 0, finished.errors
    assert finished.errors == ""
    assert finished.records[-1] == Result(str(_final(finished)), 18)
    phases = [record.name for record in finished.records if isinstance(record, Phase)]
    assert phases[:2] == ["loading model", "caching latents"]
    assert {"training", "sampling", "saving"} <= set(phases)


def test_progress_has_first_and_last_step_and_every_epoch(finished: Run) -> None:
    steps = {record.step: record for record in finished.records if isinstance(record, Progress)}
    assert {1, 6, 12, 18} <= set(steps)
    assert all(record.total == 18 and record.epochs == 3 for record in steps.values())
    assert [steps[step].epoch for step in (1, 6, 12, 18)] == [1, 1, 2, 3]
    assert steps[18].eta == 0


def test_the_log_starts_with_the_counts_and_warns_of_the_precision(finished: Run) -> None:
    for line in (
        "num train images * repeats: 18",
        "num batches per epoch: 6",
        "total optimization steps: 18",
    ):
        assert line in finished.log
    assert "fp16 needs a GPU" in finished.log or torch.cuda.is_available()
    assert "\r" not in finished.log


def test_the_files_are_those_of_sd_scripts(finished: Run) -> None:
    out = finished.folder / "out"
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
        "circles-000001.safetensors",
        "circles-000002.safetensors",
        "circles-step00000010.safetensors",
        "circles-step00000015.safetensors",
        "circles.safetensors",
    ]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in out.glob("*.safetensors"))
    samples = sorted(path.name for path in (out / "sample").iterdir())
    assert re.fullmatch(r"circles_000000_00_\d{14}_5\.png", samples[0])
    assert re.fullmatch(r"circles_e000003_00_\d{14}_5\.png", samples[1])
    said = [record for record in finished.records if isinstance(record, FileWritten)]
    assert [record.kind for record in said].count("sample") == 2
    assert all(Path(record.path).exists() or "step00000005" in record.path for record in said)
    assert next(record for record in said if record.kind == "sample").label == "a red circle, sks style"


def test_the_tensors_are_finite_and_the_alpha_is_real(finished: Run) -> None:
    tensors = load_file(_final(finished))
    assert len(tensors) == 96 * 3
    assert all(tensor.dtype == torch.float16 and bool(tensor.isfinite().all()) for tensor in tensors.values())
    assert {float(tensor) for name, tensor in tensors.items() if name.endswith(".alpha")} == {2.0}
    assert any(float(tensor.abs().max()) > 0 for name, tensor in tensors.items() if "lora_up" in name)


def test_the_metadata_says_how_it_was_made_and_its_hash_recomputes(finished: Run) -> None:
    metadata = lora_file.read_metadata(_final(finished))
    assert metadata["sshs_model_hash"] == lora_file.model_hash_of(_final(finished))
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "2.0")
    assert (metadata["ss_steps"], metadata["ss_epoch"], metadata["ss_seed"]) == ("18", "3", "11")
    assert json.loads(metadata["ss_dataset_dirs"]) == {"2_sks style": {"n_repeats": 2, "img_count": 9}}
    assert json.loads(metadata["ss_tag_frequency"])["2_sks style"]["sks style"] == 9
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"


def test_tensorboard_has_every_step(finished: Run) -> None:
    (events,) = (finished.folder / "log").glob("*/network_train")
    scalars = EventAccumulator(str(events)).Reload()
    assert {"loss/current", "loss/average", "loss/epoch_average", "lr/unet", "lr/textencoder"} <= set(
        scalars.Tags()["scalars"]
    )
    assert [event.step for event in scalars.Scalars("loss/current")] == list(range(1, 19))
    rates = [event.value for event in scalars.Scalars("lr/unet")]
    assert rates[0] == 0 and max(rates) == pytest.approx(4e-3) and rates[-1] < 1e-4


def test_nothing_heavy_is_imported_after_preloading(finished: Run) -> None:
    late = finished.log.rsplit("imported late:", 1)[1].split()
    assert not [
        name
        for name in late
        if name.split(".")[0] in ("torch", "diffusers", "transformers", "peft", "accelerate")
        and not name.startswith("torch.profiler.")
    ]


def test_the_lora_loads_in_diffusers_and_changes_the_picture(finished: Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pretrained(
            MODEL, local_files_only=True, torch_dtype=torch.float32
        )
        pipe.set_progress_bar_config(disable=True)
        before = _draw(pipe)
        pipe.load_lora_weights(_final(finished).parent, weight_name=_final(finished).name)
        after = _draw(pipe)
        (sample,) = (finished.folder / "out" / "sample").glob("*_e000003_*")
        sampler = pipe.scheduler
        assert sampler.config.prediction_type == "v_prediction"
    assert np.abs(after - before).mean() > 2
    assert np.abs(np.asarray(Image.open(sample), dtype=float) - after).mean() < 2


def _draw(pipe: object) -> np.ndarray:
    image = pipe(  # type: ignore[operator]
        "a red circle, sks style",
        negative_prompt="blurry",
        num_inference_steps=8,
        guidance_scale=4.0,
        width=64,
        height=64,
        generator=torch.Generator().manual_seed(5),
    ).images[0]
    return np.asarray(image, dtype=float)


def test_it_runs_under_accelerate_launch(arguments: list[str], tmp_path: Path) -> None:
    script = ROOT / "backend" / "training" / "train_network.py"
    config = tmp_path / "config.toml"
    config.write_text('max_train_steps = 2\noutput_name = "cold"\n')
    del arguments[arguments.index("--max_train_epochs") : arguments.index("--seed")]
    del arguments[arguments.index("--output_name") : arguments.index("--resolution")]
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "1",
        "--mixed_precision",
        "no",
    ]
    command += [
        "--num_machines",
        "1",
        "--dynamo_backend",
        "no",
        str(script),
        "--config_file",
        str(config),
        *arguments,
    ]
    done = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT}, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "cold.safetensors").is_file()
