"""One run of the built-in trainer as `trainer.py` measures it: the arguments of the command line, then JSON."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from backend.training import checks, preload
from backend.training.arguments import parse
from backend.training.progress import Reporter
from backend.training.stopping import StopRequest
from benchmarks._measured import Measured, peak_memory


class _Watch(Reporter):
    """Notes when each step was done, and what the loop says of its waiting."""

    def __init__(self) -> None:
        super().__init__(None)
        self.measured = Measured()

    def step(self, progress: Any, *, average: float, always: bool) -> None:
        """A step is done."""
        self.measured.step(progress.loss)
        super().step(progress, average=average, always=always)

    def log(self, text: str) -> None:
        """Nothing is printed but the measurement."""
        if found := re.match(r"waited for data ([\d.]+) %", text):
            self.measured.waited = float(found[1])


def main() -> None:
    """Train, and print what was measured."""
    preload.make_quiet()
    from backend.training import run

    args = parse(sys.argv[1:], data_dir=None)
    watch = _Watch()
    run.train(args, checks.prepare(args), watch, StopRequest())
    watch.measured.peak = peak_memory()
    print(json.dumps(watch.measured.report()))


if __name__ == "__main__":
    main()
