"""Calls about what a supervisor knows of a service's pool: its memory, its journal of decisions, and its history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backend.store.call import Call, command, script
from backend.store.keys import key
from backend.store.outputs import only_field

JOURNAL_KEPT = 2_000
HISTORY_KEPT = 10_000


def load(service: str) -> Call[dict[str, Any]]:
    """What the last supervisor had learnt; empty when there was none."""
    return command("GET", key("pool", service)).then(lambda answer: json.loads(answer) if answer else {})


def save(service: str, learnt: Mapping[str, Any]) -> Call[Any]:
    """Keep what was learnt, for a supervisor to come."""
    return command("SET", key("pool", service), json.dumps(learnt))


def deployment(name: str) -> list[Call[Any]]:
    """What tells the instances of this store from those of others elsewhere: the last answer, `name` if it had none."""
    return [
        command("SETNX", key("deployment"), name),
        command("GET", key("deployment")).then(lambda answer: answer.decode()),
    ]


def note_decision(service: str, decision: Mapping[str, Any], *, changes: bool) -> Call[Any]:
    """Add a decision to the journal; one that `changes` nothing, for the same reasons as the last, lengthens that."""
    return script("journal", service, json.dumps(decision), JOURNAL_KEPT, int(changes))


def decisions(service: str, limit: int = 100) -> Call[list[dict[str, Any]]]:
    """The newest decisions, newest first."""
    call = command("XREVRANGE", key("journal", service), "+", "-", "COUNT", limit)
    return call.then(lambda answer: [json.loads(only_field(entry)) for entry in answer])


def note_moment(service: str, moment: Mapping[str, float]) -> Call[Any]:
    """Add to the history of a service's queue and pool; `moment` has `at` and counts."""
    name = key("history", service)
    return command("XADD", name, "MAXLEN", "~", HISTORY_KEPT, "*", "d", json.dumps(moment))


def history(service: str, since: float = 0.0) -> Call[list[dict[str, Any]]]:
    """The moments after `since` (seconds since the epoch), and the one before it, oldest first."""
    call = command("XRANGE", key("history", service), "-", "+")

    def read(answer: list[Any]) -> list[dict[str, Any]]:
        found = [json.loads(only_field(entry)) for entry in answer]
        first = next((n for n, moment in enumerate(found) if moment["at"] > since), len(found))
        return found[max(0, first - 1) :]

    return call.then(read)
