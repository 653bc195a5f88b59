"""What strategies may name besides the queue's length, and that a pool acts on it."""

from __future__ import annotations

from typing import Any

import pytest

from backend.instance import Instance, InstanceState
from backend.pool.metrics import WINDOW, Metrics
from tests.support.hands import Hands
from tests.support.store_world import World


def instance(**vitals: Any) -> Instance:
    return Instance("i", "svc", InstanceState.IDLE, 0.0, vitals=vitals)


def test_how_often_tasks_come_is_counted_over_a_while_and_shared_by_the_instances(world: World) -> None:
    hands = Hands()
    metrics = Metrics(world.service, world.store, hands)
    two = [instance(), instance()]
    # nothing is said before there is something to count over
    assert metrics.values({"qps", "qps1k"}, two) == {}
    for _ in range(10):
        for _ in range(4):
            world.put()
        hands.now += 1.0
        found = metrics.values({"qps", "qps1k"}, two)
    assert found == {"qps": pytest.approx(2.0), "qps1k": pytest.approx(2000.0)}
    # and what is long ago is forgotten
    for _ in range(int(WINDOW) + 2):
        hands.now += 1.0
        found = metrics.values({"qps"}, two)
    assert found == {"qps": 0.0}


def test_loads_are_means_in_per_cent_of_those_that_say_them() -> None:
    said = [
        instance(cpu_load=0.2, gpu_load=0.9, memory_used=1, memory_total=4),
        instance(cpu_load=0.6, gpu_load=None, memory_used=3, memory_total=4),
        instance(),
    ]
    metrics = Metrics("svc", None, Hands())  # type: ignore[arg-type]
    wanted = {"cpu", "gpu", "gpu[util]", "memory"}
    assert metrics.values(wanted, said) == {
        "cpu": pytest.approx(40.0),
        "gpu": pytest.approx(90.0),
        "gpu[util]": pytest.approx(90.0),
        "memory": pytest.approx(50.0),
    }
    assert metrics.values({"cpu"}, said) == {"cpu": pytest.approx(40.0)}
    assert metrics.values(wanted, [instance()]) == {}
