"""A bounded record of scaling decisions in plain words: seen, decided, why, why not more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from backend.instance import InstanceState
from backend.scaling.policy import Decision
from backend.scaling.snapshot import Snapshot
from backend.scaling.wish import plural


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision, or several equal ones in a row (`times`, from `at` to `until`)."""

    at: float
    until: float
    times: int
    seen: str
    decided: str
    why: str
    why_not_more: str
    waiting: int
    current: int
    desired: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        more = f" Not more: {self.why_not_more}." if self.why_not_more else ""
        return f"Seen: {self.seen}. Decided: {self.decided}, because {self.why}.{more}"


def describe(snapshot: Snapshot, decision: Decision) -> Entry:
    """The entry of one decision; `snapshot` is the one the decision was made on."""
    return Entry(
        at=snapshot.now,
        until=snapshot.now,
        times=1,
        seen=_seen(snapshot),
        decided=_decided(decision),
        why=decision.why,
        why_not_more=decision.why_not_more,
        waiting=len(snapshot.waiting),
        current=decision.current,
        desired=decision.desired,
    )


class Journal:
    """The last `size` entries. A decision like the one before it lengthens that entry instead of adding one."""

    def __init__(self, size: int = 500) -> None:
        self._entries: deque[Entry] = deque(maxlen=size)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def record(self, snapshot: Snapshot, decision: Decision) -> Entry:
        """Take note of a decision; returns the entry it is now part of."""
        entry = describe(snapshot, decision)
        if self._entries and _same(self._entries[-1], entry):
            last = self._entries.pop()
            entry = replace(entry, at=last.at, times=last.times + 1)
        self._entries.append(entry)
        return entry


def _same(a: Entry, b: Entry) -> bool:
    return (a.seen, a.decided, a.why, a.why_not_more) == (b.seen, b.decided, b.why, b.why_not_more)


def _seen(snapshot: Snapshot) -> str:
    states = [i.state for i in snapshot.instances]
    counts = [
        f"{states.count(state)} {state.value}"
        for state in (InstanceState.STARTING, InstanceState.IDLE, InstanceState.BUSY, InstanceState.DRAINING)
        if state in states
    ]
    return f"{plural(len(snapshot.waiting), 'task')} waiting, instances: {', '.join(counts) or 'none'}"


def _decided(decision: Decision) -> str:
    acts = [
        f"{verb} {count}"
        for verb, count in (
            ("start", decision.start),
            ("cancel the start of", len(decision.cancel)),
            ("stop", len(decision.stop)),
            ("drain", len(decision.drain)),
        )
        if count
    ]
    return " and ".join(acts) or f"leave it at {decision.current}"
