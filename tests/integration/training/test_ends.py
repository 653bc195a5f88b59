from __future__ import annotations

import signal
from pathlib import Path

import pytest
from PIL import Image

from backend.records import Failed, FileWritten, Phase, Progress, Record
from backend.training.stopping import SAVED_FOR_LATER
from tests.integration.training.runs import Trainer


def _trains(records: list[Record]) -> bool:
    return any(isinstance(record, Progress) for record in records)


def _saved(records: list[Record]) -> bool:
    return any(isinstance(record, FileWritten) for record in records)


def test_sigterm_ends_it_at_once_and_keeps_the_checkpoints(
    trainer: Trainer, arguments: list[str], tmp_path: Path
) -> None:
    run = trainer.start(
        tmp_path / "run", *arguments, "--max_train_epochs", "1000", "--save_every_n_steps", "2"
    )
    run.wait_for(_saved)
    run.signal(signal.SIGTERM)
    run.signal(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert "circles-step00000002.safetensors" in left
    assert "circles.safetensors" not in left
    assert not [name for name in left if name.endswith(".part")]
    assert "checkpoints written so far are kept" in run.log
    assert run.errors == ""


def test_asked_to_save_before_the_first_step_it_just_goes(
    trainer: Trainer, arguments: list[str], tmp_path: Path
) -> None:
    run = trainer.start(tmp_path / "run", *arguments)
    run.wait_for(lambda records: Phase("loading model") in records)
    run.signal(signal.SIGUSR1)
    assert run.wait() == SAVED_FOR_LATER
    assert not [record for record in run.records if isinstance(record, FileWritten)] or _trains(run.records)


@pytest.mark.parametrize("states", [[], ["--save_state"]])
def test_saved_and_stopped_right_after_a_checkpoint_it_saves_nothing_twice(
    trainer: Trainer, arguments: list[str], tmp_path: Path, states: list[str]
) -> None:
    # Given a checkpoint after each step, so that every moment is right after one
    every = ["--max_train_epochs", "1000", "--save_every_n_steps", "1", *states]
    run = trainer.start(tmp_path / "run", *arguments, *every)
    run.wait_for(_saved)
    run.signal(signal.SIGUSR1)
    assert run.wait() == SAVED_FOR_LATER
    written = [(record.kind, record.step) for record in run.records if isinstance(record, FileWritten)]
    assert len(written) == len(set(written))
    assert written[-1] == ("state", written[-2][1])


def test_a_loss_that_is_no_number_ends_it_with_the_last_good_checkpoint(
    trainer: Trainer, arguments: list[str], tmp_path: Path
) -> None:
    run = trainer.run(
        tmp_path / "run",
        *arguments,
        "--learning_rate",
        "1e30",
        "--save_every_n_steps",
        "1",
        "--max_grad_norm",
        "0",
    )
    assert run.wait() == 1
    (failed,) = [record for record in run.records if isinstance(record, Failed)]
    assert failed.reason.startswith("the loss is NaN since step")
    assert run.errors == f"error: {failed.reason}\n"
    assert "Traceback" not in run.log
    assert "circles-step00000001.safetensors" in failed.reason
    assert (tmp_path / "out" / "circles-step00000001.safetensors").is_file()
    assert not (tmp_path / "out" / "circles.safetensors").exists()


def test_a_full_disk_is_said_and_leaves_nothing_half(
    trainer: Trainer, arguments: list[str], tmp_path: Path
) -> None:
    # A file larger than the limit fails to write just as a full disk does; the kernel calls it "File too large".
    run = trainer.run(tmp_path / "run", *arguments, env={"TEST_FILE_LIMIT": "100000"})
    assert run.wait() == 1
    (failed,) = [record for record in run.records if isinstance(record, Failed)]
    assert run.errors == f"error: {failed.reason}\n"
    assert failed.reason == f"cannot use {tmp_path / 'out' / 'circles.safetensors'}: File too large"
    assert "Traceback" not in run.log
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "more", "told"),
    [
        (
            lambda parent: (parent / "2_sks style").rename(parent / "sks style"),
            [],
            "no folder named <repeats>_<name>",
        ),
        (
            lambda parent: (parent / "2_sks style" / "3.png").write_bytes(b"\x89PNG no"),
            [],
            "3.png cannot be read",
        ),
        (lambda parent: None, ["--network_dim", "abc"], "network_dim: wants a whole number"),
        (lambda parent: None, ["--optimizer_type", "AdamW8bit"], "choose AdamW"),
        (lambda parent: None, ["--pretrained_model_name_or_path", "/nowhere"], "does not exist"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    trainer: Trainer,
    arguments: list[str],
    pictures: Path,
    tmp_path: Path,
    spoil: object,
    more: list[str],
    told: str,
) -> None:
    spoil(pictures)  # type: ignore[operator]
    run = trainer.run(tmp_path / "run", *arguments, *more)
    assert run.wait() == 2
    assert run.errors.startswith("error: ") and run.errors.count("\n") == 1
    assert told in run.errors
    assert not (tmp_path / "out").exists()
    (failed,) = run.records
    assert isinstance(failed, Failed)


def test_pictures_of_many_sizes_uncached_with_regularisation(
    trainer: Trainer, arguments: list[str], pictures: Path, tmp_path: Path
) -> None:
    for number, size in enumerate(((96, 40), (40, 96), (200, 130))):
        Image.new("RGBA", size, (200, 100, number * 50, 128)).save(
            pictures / "2_sks style" / f"wide{number}.png"
        )
    reg = tmp_path / "reg" / "1_circle"
    reg.mkdir(parents=True)
    Image.new("L", (64, 64), 90).save(reg / "grey.png")
    run = trainer.run(
        tmp_path / "run",
        *[word for word in arguments if word != "--cache_latents"],
        *(
            "--reg_data_dir",
            str(reg.parent),
            "--prior_loss_weight",
            "0.5",
            "--enable_bucket",
            "--bucket_reso_steps",
            "16",
        ),
        *("--min_bucket_reso", "32", "--max_bucket_reso", "128", "--random_crop", "--max_train_epochs", "1"),
        *(
            "--gradient_checkpointing",
            "--clip_skip",
            "2",
            "--mixed_precision",
            "bf16",
            "--network_train_unet_only",
        ),
        *(
            "--noise_offset",
            "0.05",
            "--multires_noise_iterations",
            "4",
            "--ip_noise_gamma",
            "0.1",
            "--loss_type",
            "huber",
        ),
        *("--scale_weight_norms", "1", "--lr_scheduler", "polynomial", "--caption_dropout_rate", "0.2"),
    )
    assert run.wait() == 0, run.errors + run.log
    assert "num reg images: 24" in run.log
