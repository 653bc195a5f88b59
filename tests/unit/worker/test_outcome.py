"""How an ended run is judged."""

from __future__ import annotations

import signal

import pytest

from backend.training.stopping import SAVED_FOR_LATER
from backend.worker.outcome import SAVED, Outcome, judge
from backend.worker.program import Ending
from backend.worker.wish import Wish, stronger


def judged(
    ending: Ending, *, wish: Wish = None, failure: str = "", last_line: str = "", missing: str = ""
) -> Outcome:
    return judge(ending, wish=wish, failure=failure, last_line=last_line, missing=missing)


CASES: dict[str, tuple[Outcome, Outcome]] = {
    "a good end": (judged(Ending(0), last_line="bye"), Outcome("succeeded", exit_code=0)),
    "an exit code, the last line says why": (
        judged(Ending(3), last_line="error: no such model"),
        Outcome("failed", "no such model", exit_code=3),
    ),
    "an exit code, the program says why": (
        judged(Ending(1), failure="loss is NaN", last_line="Traceback"),
        Outcome("failed", "loss is NaN", exit_code=1),
    ),
    "an exit code and not a word": (
        judged(Ending(4)),
        Outcome("failed", "it ended with exit code 4 and said nothing", exit_code=4),
    ),
    "exit code 0 without the promised file": (
        judged(Ending(0), missing="the training ended without writing x.safetensors"),
        Outcome("failed", "the training ended without writing x.safetensors", exit_code=0),
    ),
    "exit code 0, but the program said that it failed": (
        judged(Ending(0), failure="the disk is full"),
        Outcome("failed", "the disk is full", exit_code=0),
    ),
    "stopped": (
        judged(Ending(signal=signal.SIGTERM), wish="stop"),
        Outcome("cancelled", "stopped on request"),
    ),
    "stopped, and it ended well": (
        judged(Ending(0), wish="stop"),
        Outcome("cancelled", "stopped on request", exit_code=0),
    ),
    "saved": (
        judged(Ending(SAVED), wish="save"),
        Outcome("cancelled", "stopped on request, state saved", exit_code=SAVED),
    ),
    "handed back with its state": (
        judged(Ending(SAVED), wish="hand back"),
        Outcome("returned", "its instance had to leave, state saved"),
    ),
    "handed back without a state": (
        judged(Ending(signal=signal.SIGKILL), wish="hand back"),
        Outcome("returned", "its instance had to leave"),
    ),
    "done just before it was to be handed back": (
        judged(Ending(0), wish="hand back"),
        Outcome("succeeded", exit_code=0),
    ),
    "killed with its guard": (
        judged(Ending()),
        Outcome("returned", "the run was killed together with its guard", counted=True),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_judgement(case: str) -> None:
    found, expected = CASES[case]
    assert found == expected


def test_a_signal_that_nobody_asked_for_is_named_and_counts_as_a_delivery() -> None:
    found = judged(Ending(signal=signal.SIGSEGV), last_line="step 3")
    assert (found.verdict, found.counted) == ("returned", True)
    assert "signal 11 (SIGSEGV)" in found.reason
    assert "memory" not in found.reason


def test_sigkill_hints_at_the_memory() -> None:
    assert "memory" in judged(Ending(signal=signal.SIGKILL)).reason


def test_a_signal_without_a_name_is_no_error() -> None:
    assert "signal 200" in judged(Ending(signal=200)).reason


def test_the_trainer_means_the_same_by_its_exit_code() -> None:
    assert SAVED == SAVED_FOR_LATER


WISHES: list[Wish] = [None, "hand back", "save", "stop"]


@pytest.mark.parametrize("new", WISHES)
@pytest.mark.parametrize("old", WISHES)
def test_the_strongest_wish_counts_whatever_the_order(old: Wish, new: Wish) -> None:
    assert stronger(new, old) == (WISHES.index(new) > WISHES.index(old))
