"""Synthetic workloads have the figures of the traces that they stand in for."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import pytest

from backend.errors import InvalidArgument
from backend.scaling.generator import SHAPES, Workload, generate, workload_named, write_trace
from backend.scaling.offline import offline_optimum
from backend.scaling.replay import quantile
from backend.scaling.trace import TraceTask, read_trace

COUNT = 8000


def gaps(trace: list[TraceTask]) -> list[float]:
    return sorted(b.arrival - a.arrival for a, b in pairwise(trace))


@pytest.mark.parametrize(
    ("workload", "log_mean", "log_sd", "quartiles", "optimum"),
    [
        ("inference", 3.16, 0.52, (6, 16, 36), 2.032),
        ("training", 6.74, 1.39, (80, 274, 742), 1.027),
    ],
)
def test_the_figures(
    workload: Workload, log_mean: float, log_sd: float, quartiles: tuple[float, ...], optimum: float
) -> None:
    trace = generate(workload, COUNT, seed=3)
    logs = [math.log(task.service) for task in trace]
    assert fmean(logs) == pytest.approx(log_mean, abs=0.2)
    assert stdev(logs) == pytest.approx(log_sd, rel=0.15)
    for share, expected in zip((0.25, 0.5, 0.75), quartiles, strict=True):
        assert quantile(gaps(trace), share) == pytest.approx(expected, rel=0.35)
    best = offline_optimum(trace, 60)
    assert best.cost / best.busy == pytest.approx(optimum, rel=0.2)


def test_few_models_have_most_of_the_requests() -> None:
    models = Counter(task.key[0] for task in generate("inference", COUNT))
    most = [count / COUNT for _, count in models.most_common(10)]
    assert most[0] == pytest.approx(0.31, abs=0.03)
    assert sum(most[:5]) == pytest.approx(0.68, abs=0.03)
    assert sum(most) == pytest.approx(0.86, abs=0.03)
    assert len(models) > 50


@pytest.mark.parametrize("workload", SHAPES)
def test_a_seed_is_a_trace_in_order_of_arrival(workload: Workload) -> None:
    trace = generate(workload, 500, seed=7)
    assert trace == generate(workload, 500, seed=7) != generate(workload, 500, seed=8)
    assert trace[0].arrival == 0
    assert all(a.arrival <= b.arrival and b.service > 0 for a, b in pairwise(trace))


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    for workload in SHAPES:
        trace = generate(workload, 200)
        write_trace(tmp_path / name, trace)
        assert read_trace(tmp_path / name) == trace


def test_an_unknown_workload() -> None:
    with pytest.raises(InvalidArgument, match="inference and training"):
        workload_named("video")
