"""Synthetic workloads with the figures of two production traces, for replays without them.

* `inference`: requests to a Stable-Diffusion-with-LoRA service (GenTD26; "Understanding Diffusion Model Serving in
  Production", SoCC '25): short, log-normal run times, arrivals in bursts with silent nights, few popular models.
* `training`: one-GPU jobs of a cluster ("Beware of Fragmentation", USENIX ATC '23): long, widely spread run times.

Gaps follow the quantiles of the traces; a slow Gaussian factor keeps short gaps among short ones, as bursts do.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from backend.errors import InvalidArgument
from backend.scaling.trace import TraceTask

Workload = Literal["inference", "training"]


@dataclass(frozen=True, slots=True)
class Shape:
    """Figures of a workload. Times in seconds.

    `gaps`: (share, gap) points of the quantile function of the time between arrivals, joined log-linearly.
    `slow`: share of the variance of a gap's rank that changes slowly, over about `memory` arrivals.
    `log_mean`, `log_sd`: of the natural logarithm of run times, kept within `shortest` and `longest`.
    `models`: shares of the base models in order of popularity; `model_sd`: how far their log run times differ.
    """

    gaps: tuple[tuple[float, float], ...]
    slow: float
    memory: float
    log_mean: float
    log_sd: float
    shortest: float
    longest: float
    models: tuple[float, ...] = ()
    model_sd: float = 0.0


_POPULAR = (0.31, 0.13, 0.09, 0.08, 0.07, 0.05, 0.04, 0.03, 0.03, 0.03)
_RARE = tuple(0.14 * 0.94**place * 0.06 / (1 - 0.94**64) for place in range(64))
"""The top 1, 5 and 10 of 74 models have 31, 68 and 86 % of the requests."""

SHAPES: dict[Workload, Shape] = {
    "inference": Shape(
        gaps=(
            (0.0, 0.5),
            (0.05, 1),
            (0.1, 2),
            (0.25, 6),
            (0.5, 16),
            (0.75, 36),
            (0.9, 71),
            (0.95, 122),
            (0.99, 786),
            (0.999, 9_800),
            (1.0, 48_000),
        ),
        slow=0.35,
        memory=150,
        log_mean=3.16,
        log_sd=0.52,
        shortest=3,
        longest=600,
        models=_POPULAR + _RARE,
        model_sd=0.36,
    ),
    "training": Shape(
        gaps=(
            (0.0, 0.5),
            (0.05, 3),
            (0.1, 19),
            (0.25, 80),
            (0.5, 274),
            (0.75, 742),
            (0.95, 2_155),
            (0.99, 4_226),
            (1.0, 9_600),
        ),
        slow=0.17,
        memory=20,
        log_mean=6.74,
        log_sd=1.39,
        shortest=60,
        longest=21_600,
    ),
}

_IMAGES = ((1, 0.58), (2, 0.09), (4, 0.19), (8, 0.14))
_STEPS = ((30, 0.91), (40, 0.05), (20, 0.04))


def workload_named(name: str) -> Workload:
    """The workload of that name. Raises InvalidArgument with the names there are."""
    for known in SHAPES:
        if name == known:
            return known
    raise InvalidArgument("workload", f"{name!r} is not known; there are {' and '.join(SHAPES)}")


def generate(workload: Workload, tasks: int, seed: int = 0) -> list[TraceTask]:
    """A trace of `tasks` tasks in order of arrival, whole seconds, the first at 0; the same for the same seed."""
    shape = SHAPES[workload]
    rng = random.Random(seed)
    arrivals = _arrivals(shape, rng)
    effects = [rng.gauss(0.0, shape.model_sd) for _ in shape.models]
    trace = []
    for _ in range(tasks):
        log = rng.gauss(shape.log_mean, math.sqrt(shape.log_sd**2 - shape.model_sd**2))
        key: tuple[str, ...] = ()
        if shape.models:
            model = rng.choices(range(len(effects)), shape.models)[0]
            log += effects[model]
            key = (f"base_model=m{model:02}", f"steps={_one(_STEPS, rng)}", f"images={_one(_IMAGES, rng)}")
        seconds = round(min(max(math.exp(log), shape.shortest), shape.longest))
        trace.append(TraceTask(next(arrivals), float(seconds), key))
    return trace


def write_trace(path: Path, trace: Sequence[TraceTask]) -> None:
    """Write a trace as `read_trace` reads it; compressed where the name ends in .gz."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [part.partition("=")[0] for part in trace[0].key] if trace else []
    writer.writerow(["arrival_s", "service_s", *columns])
    for task in trace:
        values = [part.partition("=")[2] for part in task.key]
        writer.writerow([f"{task.arrival:.10g}", f"{task.service:.10g}", *values])
    raw = text.getvalue().encode()
    path.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)


def _arrivals(shape: Shape, rng: random.Random) -> Iterator[float]:
    keep = math.exp(-1 / shape.memory)
    at, factor = 0.0, rng.gauss(0.0, 1.0)
    while True:
        yield at
        factor = keep * factor + math.sqrt(1 - keep**2) * rng.gauss(0.0, 1.0)
        normal = math.sqrt(shape.slow) * factor + math.sqrt(1 - shape.slow) * rng.gauss(0.0, 1.0)
        at += math.floor(_quantile(shape.gaps, NormalDist().cdf(normal)))


def _quantile(points: Sequence[tuple[float, float]], share: float) -> float:
    """The value at `share`, between two points by their logarithms."""
    for (low, a), (high, b) in pairwise(points):
        if share <= high:
            return float(a * (b / a) ** ((share - low) / (high - low)))
    return float(points[-1][1])


def _one(choices: Sequence[tuple[int, float]], rng: random.Random) -> int:
    return rng.choices([value for value, _ in choices], [weight for _, weight in choices])[0]
