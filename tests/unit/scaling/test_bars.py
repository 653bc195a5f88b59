"""The default setting against both production traces: cost, waits, kills, and what the EAS rule gives on the same work.

The traces are not part of the project. They are looked for in `LORAPOOL_TRACES`, else beside the checkout; without
them these tests are skipped. With `LORAPOOL_BARS=all` every row is replayed (a minute), else the quick ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backend.scaling import parse_autoscaler
from backend.scaling.replay import Outcome, World, replay
from backend.scaling.trace import TraceTask, read_trace

ROOT = Path(__file__).parents[3]
TRACES = Path(os.environ.get("LORAPOOL_TRACES", ROOT.parent / "shared" / "traces"))
FILES = {"inference": "inference_requests.csv.gz", "training": "training_jobs.csv.gz"}
MAX = {"inference": 10, "training": 20}
ALL = os.environ.get("LORAPOOL_BARS") == "all"

pytestmark = pytest.mark.skipif(
    not all((TRACES / name).is_file() for name in FILES.values()),
    reason=f"no traces in {TRACES}; name their folder in LORAPOOL_TRACES",
)


@cache
def trace(name: str, speed: float = 1.0) -> list[TraceTask]:
    return [replace(task, arrival=task.arrival / speed) for task in read_trace(TRACES / FILES[name])]


def run(name: str, world: World, speed: float = 1.0, **autoscaler: Any) -> Outcome:
    said = {"min": 0, "max": MAX[name], **autoscaler}
    return replay(trace(name, speed), parse_autoscaler(said), world)


@dataclass(frozen=True)
class Bar:
    """A row of the table: what may at most be reached on one trace under one setting."""

    trace: str
    world: World
    cost: float
    mean: float
    p95: float
    preset: str = "default"
    speed: float = 1.0
    quick: bool = False
    more: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.trace}-{self.preset}-{self.world.cold_start:g}s-x{self.speed:g}"


BARS = [
    Bar("inference", World(60), 1.15, 7.0, 45, quick=True),
    Bar("inference", World(60), 0.795, 25, 65, preset="economy"),
    Bar("inference", World(10), 1.09, 5.5, 11),
    Bar("training", World(60), 1.005, 57, 61, quick=True),
    Bar("training", World(10), 1.003, 10.5, 11, quick=True),
    Bar("inference", World(60, boot_sigma=0.5), 1.15, 6.8, 41),
    Bar("inference", World(60, boot_sigma=0.5, seed=1), 1.15, 6.8, 41),
    Bar("inference", World(60, estimates=False), 1.17, 6.7, 44),
    Bar("inference", World(60), 0.80, 38, 76, preset="economy", speed=3.0),
    Bar(
        "training", World(60, progress=0.2), 1.005, 57, 61, quick=True, more={"wait_p99": 62, "wait_max": 125}
    ),
]


@pytest.mark.parametrize("bar", [bar for bar in BARS if ALL or bar.quick], ids=str)
def test_the_bars(bar: Bar) -> None:
    found = run(bar.trace, bar.world, bar.speed, preset=bar.preset)
    assert found.cost_ratio <= bar.cost
    assert found.wait_mean <= bar.mean
    assert found.wait_p95 <= bar.p95
    assert found.kills == 0
    for name, most in bar.more.items():
        assert getattr(found, name) <= most, name


EAS = [
    ("inference", {"min": 0}, 0.810, 34.7),
    ("training", {"min": 0}, 0.986, 1057.0),
    ("inference", {"min": 1}, 1.769, 27.7),
    ("training", {"min": 1}, 1.008, 1053.0),
]


@pytest.mark.parametrize(
    ("name", "bounds", "cost", "mean"), [row for row in EAS if ALL or row[0] == "training"], ids=str
)
def test_a_description_with_the_strategy_of_eas_costs_and_waits_as_there(
    name: str, bounds: dict[str, int], cost: float, mean: float
) -> None:
    found = run(name, World(60), strategies={"avg_waiting_length": 2}, **bounds)
    assert found.cost_ratio == pytest.approx(cost, rel=0.03)
    assert found.wait_mean == pytest.approx(mean, rel=0.10)
    assert found.kills == 0
