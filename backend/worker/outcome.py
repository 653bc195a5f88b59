"""How a run that ended is judged: pure, from what was seen of it.

An exit code is not enough either way. A training that leaves no new, finite file has failed whatever it returned; a
run that a signal ended did not fail by itself and is tried again.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Literal

from backend.worker.program import Ending
from backend.worker.wish import Wish

SAVED = 85
"""Exit code of a trainer that was asked to save its state and did."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`verdict` is a final state of the task, or `returned`: back to the queue, `counted` as a delivery or not."""

    verdict: Literal["succeeded", "failed", "cancelled", "returned"]
    reason: str = ""
    counted: bool = False
    exit_code: int | None = None


def judge(ending: Ending, *, wish: Wish, failure: str, last_line: str, missing: str) -> Outcome:
    """Judge an ended run.

    `failure` is the reason that the program gave, `last_line` the last line it printed, `missing` what a training
    promised and did not leave (empty when all is there).
    """
    code = ending.exit_code
    if wish in ("stop", "save"):
        saved = ", state saved" if code == SAVED else ""
        return Outcome("cancelled", f"stopped on request{saved}", exit_code=code)
    if wish == "hand back" and code != 0:
        saved = ", state saved" if code == SAVED else ""
        return Outcome("returned", f"its instance had to leave{saved}")
    if code is None:
        return Outcome("returned", _signalled(ending.signal), counted=True)
    if code != 0:
        said = failure or last_line.removeprefix("error: ")
        return Outcome("failed", said or f"it ended with exit code {code} and said nothing", exit_code=code)
    if failure or missing:
        return Outcome("failed", failure or missing, exit_code=code)
    return Outcome("succeeded", exit_code=code)


def _signalled(number: int | None) -> str:
    if number is None:
        return "the run was killed together with its guard"
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "an unknown signal"
    hint = "; the system may have run out of memory" if number == signal.SIGKILL else ""
    return f"the run was killed by signal {number} ({name}){hint}"
