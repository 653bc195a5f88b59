from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backend.records import FileWritten, Progress, Record, Result
from backend.training.stopping import SAVED_FOR_LATER
from tests.integration.training.runs import Trainer


def _reached(step: int) -> object:
    def seen(records: list[Record]) -> bool:
        return any(isinstance(record, Progress) and record.step >= step for record in records)

    return seen


def _scalars(folder: Path) -> dict[int, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses: dict[int, float] = {}
    for events in sorted(folder.glob("*/network_train")):
        for event in EventAccumulator(str(events)).Reload().Scalars("loss/current"):
            assert event.step not in losses
            losses[event.step] = event.value
    return losses


@pytest.mark.parametrize(
    "more",
    [
        ["--shuffle_caption", "--flip_aug", "--network_dropout", "0.1", "--lr_scheduler", "cosine"],
        [
            *(
                "--optimizer_type",
                "AdamWScheduleFree",
                "--gradient_accumulation_steps",
                "2",
                "--train_batch_size",
                "2",
            ),
            *("--network_args", "conv_dim=2", "loraplus_lr_ratio=4", "rank_dropout=0.1"),
        ],
    ],
    ids=["adamw", "schedule-free-accumulated"],
)
def test_a_run_stopped_twice_equals_one_that_was_not(
    trainer: Trainer, arguments: list[str], tmp_path: Path, more: list[str]
) -> None:
    # Given a run that nobody disturbs, of 18 (or 3 × 5) steps
    whole = trainer.run(
        tmp_path / "whole", *arguments, *more, "--logging_dir", str(tmp_path / "whole" / "log")
    )
    assert whole.wait() == 0, whole.errors
    expected = load_file(tmp_path / "out" / "circles.safetensors")

    # When the same run is asked to save and stop twice, and resumed
    stopped = tmp_path / "stopped"
    common = [*arguments, *more, "--output_dir", str(stopped / "out"), "--logging_dir", str(stopped / "log")]
    extra: list[str] = []
    reached = 0
    for attempt, step in enumerate((7, 13)):
        run = trainer.start(stopped / str(attempt), *common, *extra)
        run.wait_for(_reached(step))
        run.signal(signal.SIGUSR1)
        assert run.wait() == SAVED_FOR_LATER, run.errors
        state = [
            record for record in run.records if isinstance(record, FileWritten) and record.kind == "state"
        ][-1]
        facts = json.loads((Path(state.path) / "train_state.json").read_text())
        assert facts["current_step"] == state.step >= step > reached
        assert (stopped / "out" / f"circles-step{state.step:08d}.safetensors").is_file()
        reached = facts["current_step"]
        extra = ["--resume", state.path]
    last = trainer.run(stopped / "last", *common, *extra)

    # Then it did every step once, with the same losses and the same weights
    assert last.wait() == 0, last.errors
    total = max(whole.losses)
    assert last.records[-1] == Result(str(stopped / "out" / "circles.safetensors"), total)
    resumed, undisturbed = _scalars(stopped / "log"), _scalars(tmp_path / "whole" / "log")
    assert sorted(resumed) == sorted(undisturbed) == list(range(1, total + 1))
    assert resumed == pytest.approx(undisturbed, abs=1e-6)
    for name, tensor in load_file(stopped / "out" / "circles.safetensors").items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name


def test_a_state_that_is_done_or_foreign_is_refused(
    trainer: Trainer, arguments: list[str], tmp_path: Path
) -> None:
    done = trainer.run(tmp_path / "a", *arguments, "--max_train_epochs", "1", "--save_state_on_train_end")
    assert done.wait() == 0, done.errors
    state = tmp_path / "out" / "circles-state"
    again = trainer.run(tmp_path / "b", *arguments, "--max_train_epochs", "1", "--resume", str(state))
    assert again.wait() == 2
    assert "nothing is left to train" in again.errors
    other_rank = trainer.run(tmp_path / "c", *arguments, "--resume", str(state), "--network_dim", "8")
    assert other_rank.wait() == 2
    assert "same rank" in other_rank.errors
    (state / "train_state.json").write_text('{"current_epoch": 1, "current_step": 6}')
    foreign = trainer.run(tmp_path / "d", *arguments, "--resume", str(state))
    assert foreign.wait() == 2
    assert foreign.errors.startswith("error: resume: ") and foreign.errors.count("\n") == 1
