"""The reference of service descriptions: every key has its effect said, and each of those that is said is a key."""

from __future__ import annotations

from typing import Any

from backend.service import parse
from backend.service.effects import EFFECTS
from backend.service.schema import keys, schema


def test_every_key_of_the_schema_says_what_it_does_and_nothing_else_is_said() -> None:
    paths = {each.path for each in keys()}
    assert paths - EFFECTS.keys() == set(), "these have no sentence in backend/service/effects.py"
    assert EFFECTS.keys() - paths == set(), "the schema does not know these"


def test_what_has_an_effect_is_read_without_a_warning() -> None:
    """A description that uses keys of the table is told nothing about them."""
    used: dict[str, Any] = {
        "metadata": {"name": "svc", "type": "ScalableJob", "instance": 1},
        "containers": [{"command": "python app.py", "port": 8000, "env": [{"name": "A", "value": "1"}]}],
        "rpc": {"worker_threads": 2, "keepalive": 1000},
        "queue": {"max_delivery": 2, "sink": {"capacity": 5}},
        "autoscaler": {"min": 0, "max": 2},
        "scalable_job": {"enable_write_log_to_queue": False},
    }
    assert parse(used).warnings == ()


def test_editors_are_told_the_effect_of_a_key() -> None:
    rpc = schema()["properties"]["metadata"]["properties"]["rpc.worker_threads"]
    assert rpc["description"] == EFFECTS["rpc.worker_threads"]
