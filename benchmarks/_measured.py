"""When each step of a training was done, its loss, and the most memory that its process had."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise

_WARM = 3
"""Steps that are left out: allocators fill and kernels are chosen."""


@dataclass(slots=True)
class Measured:
    """The steps of one run; `peak` in MiB, of the GPU where there is one, else of the process."""

    times: list[float] = field(default_factory=list)
    worked: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak: float = 0.0
    waited: float = 0.0

    def step(self, loss: float) -> None:
        """A step is done now."""
        self.times.append(time.perf_counter())
        self.worked.append(time.process_time())
        self.losses.append(loss)

    def report(self) -> dict[str, float]:
        """Steps a second and processor seconds a step (of the median step), the peak, the share of waiting for data.

        Processor seconds say the same on a machine that does other things too.
        """
        return {
            "rate": 1 / statistics.median(_differences(self.times)),
            "processor": statistics.median(_differences(self.worked)),
            "peak": self.peak,
            "waited": self.waited,
        }


def _differences(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times[_WARM:])]


def peak_memory() -> float:
    """The most memory so far, in MiB."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
