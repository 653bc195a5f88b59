"""What an instance asks of a Ray node, and how many fit."""

from __future__ import annotations

from typing import Any

import pytest

from backend.pool.ray.needs import Needs, Node, could_ever, needs_of, room
from backend.service import parse


def needs(gpus: bool = True, **description: Any) -> Needs:
    metadata = {"name": "svc", "type": "ScalableJob", **description.pop("metadata", {})}
    return needs_of(parse({"metadata": metadata, **description}).description, gpus=gpus)


def node(labels: dict[str, str] | None = None, used: float = 0.0, **total: float) -> Node:
    free = {name: amount - used for name, amount in total.items()}
    return Node("n", "10.0.0.1", free, total, labels or {})


def test_one_gpu_where_there_is_any_and_a_cpu_where_there_is_none() -> None:
    assert needs(gpus=True).amounts == {"GPU": 1.0}
    assert needs(gpus=False).amounts == {"CPU": 1.0}


def test_what_the_description_names() -> None:
    asked = needs(
        metadata={"gpu": 2, "cpu": 4, "memory": 1000},
        ray={"resources": {"fast_disk": 1}, "labels": {"room": "a"}},
    )
    assert asked.options() == {
        "num_gpus": 2.0,
        "num_cpus": 4.0,
        "memory": 1000.0 * 2**20,
        "resources": {"fast_disk": 1.0},
        "label_selector": {"room": "a"},
    }
    assert asked.words() == "2 GPU, 4 CPU, 1 fast_disk, 1000 MiB of memory, room=a"


def test_room_is_counted_node_by_node() -> None:
    two = Needs({"GPU": 2.0})
    assert room([node(GPU=3), node(GPU=3)], two) == 2, "a third one would need a GPU of each"
    assert room([node(GPU=3, used=2)], two) == 0
    assert could_ever([node(GPU=3, used=2)], two)
    assert not could_ever([node(GPU=1)], two)


def test_the_scarcest_resource_counts() -> None:
    assert room([node(GPU=4, CPU=6)], Needs({"GPU": 1.0, "CPU": 2.0})) == 3
    assert room([node(GPU=4)], Needs({"GPU": 1.0, "fast_disk": 1.0})) == 0


def test_shares_of_a_gpu_add_up() -> None:
    assert room([node(GPU=1)], Needs({"GPU": 0.1})) == 10


@pytest.mark.parametrize(("asked", "fits"), [("a", 1), ("b", 0), ("in(a,b)", 1), ("!b", 1)])
def test_labels(asked: str, fits: int) -> None:
    assert room([node({"room": "a"}, GPU=1)], Needs({"GPU": 1.0}, {"room": asked})) == fits
