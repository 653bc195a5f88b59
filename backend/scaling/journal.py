"""A bounded record of scaling decisions in plain words: seen, decided, why, why not more."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from backend.instance import InstanceState
from backend.scaling.policy import Decision
from backend.scaling.snapshot import Snapshot
from backend.scaling.wish import plural

_LEAVE = "leave it at"


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision, or several alike in a row (`times`, from `at` to `until`), told as the last of them."""

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

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote; keys that are missing, or that it does not know, do no harm."""
        at = float(data.get("at", 0.0))
        return cls(
            at=at,
            until=float(data.get("until", at)),
            times=int(data.get("times", 1)),
            seen=str(data.get("seen", "")),
            decided=str(data.get("decided", "")),
            why=str(data.get("why", "")),
            why_not_more=str(data.get("why_not_more", "")),
            waiting=int(data.get("waiting", 0)),
            current=int(data.get("current", 0)),
            desired=int(data.get("desired", 0)),
        )

    def __str__(self) -> str:
        more = f"; not more: {self.why_not_more}" if self.why_not_more else ""
        times = f" (×{self.times})" if self.times > 1 else ""
        return f"{self.decided}{times}, because {self.why} [{self.seen}{more}]"


def folded(entries: Iterable[Entry]) -> list[Entry]:
    """Entries in order of time, those that are alike in a row made one, told as the last of them."""
    found: list[Entry] = []
    for entry in entries:
        if found and entry.decided.startswith(_LEAVE) and alike(found[-1], entry):
            last = found.pop()
            entry = replace(entry, at=last.at, times=last.times + entry.times)
        found.append(entry)
    return found


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
    """The last `size` entries. A decision like the one before it lengthens that entry instead of adding one.

    Alike are two that leave everything as it is for the same reason, whatever the numbers in it.
    """

    def __init__(self, size: int = 500) -> None:
        self._entries: deque[Entry] = deque(maxlen=size)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def record(self, snapshot: Snapshot, decision: Decision) -> Entry:
        """Take note of a decision; returns the entry it is now part of."""
        entry = describe(snapshot, decision)
        if self._entries and not decision.changes and alike(self._entries[-1], entry):
            last = self._entries.pop()
            entry = replace(entry, at=last.at, times=last.times + 1)
        self._entries.append(entry)
        return entry


_NUMBER = re.compile(r"[0-9][0-9.e+-]*( [a-z]+?s?\b)?")


def alike(a: Entry, b: Entry) -> bool:
    """Whether two entries decide the same for the same reason."""
    return (a.decided, _shape(a.why), _shape(a.why_not_more)) == (
        b.decided,
        _shape(b.why),
        _shape(b.why_not_more),
    )


def _shape(reason: str) -> str:
    """A reason without its numbers and what they count, so that `1 task` and `2 tasks` are one."""
    return _NUMBER.sub("#", reason)


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
    return " and ".join(acts) or f"{_LEAVE} {decision.current}"
