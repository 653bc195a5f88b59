"""The waiting tasks of a service, in a line for each user and priority.

A pass looks at the heads of the lines and goes on from there: it costs what it hands out, not what waits.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Protocol, Self, TypeVar, cast

from backend.task import Kind


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A task in the queue. `seconds` is its expected run time.

    `models` are keys of what it needs warm, the most expensive to load first (base model, then LoRAs).
    `avoid` names the instance where it failed the last time. `index` is its number: what was put earlier has a lower
    one.
    """

    id: str
    kind: Kind
    created_at: float
    user: str = ""
    priority: int = 0
    seconds: float | None = None
    models: tuple[str, ...] = ()
    avoid: str = ""
    index: int = 0


class Entry(Protocol):
    """What a line is ordered by."""

    @property
    def id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def created_at(self) -> float: ...


E = TypeVar("E", bound=Entry)


@dataclass(slots=True)
class _Line(Generic[E]):
    indexes: list[int] = field(default_factory=list)
    entries: list[E] = field(default_factory=list)

    def put(self, entry: E) -> None:
        at = bisect_left(self.indexes, entry.index)
        self.indexes.insert(at, entry.index)
        self.entries.insert(at, entry)

    def copy(self) -> Self:
        return type(self)(list(self.indexes), list(self.entries))

    def take(self, entry: E) -> None:
        at = self.entries.index(entry, bisect_left(self.indexes, entry.index))
        del self.indexes[at], self.entries[at]


class WaitingTasks(Generic[E]):
    """Tasks as whoever keeps them has them, and as `view` shows them to a pass, made when they are looked at."""

    def __init__(
        self,
        entries: Iterable[E] = (),
        view: Callable[[E], WaitingTask] = lambda entry: cast(WaitingTask, entry),
    ) -> None:
        self._view = view
        self._entries: dict[str, E] = {}
        self._lines: dict[str, dict[int, _Line[E]]] = {}
        self._counts: dict[str, int] = {}
        self._gone: Collection[str] = frozenset()
        for entry in entries:
            self.put(entry)

    def put(self, entry: E) -> None:
        """Add a task, or replace what was known of it."""
        self.take(entry.id)
        self._entries[entry.id] = entry
        self._lines.setdefault(entry.user, {}).setdefault(entry.priority, _Line()).put(entry)
        self._counts[entry.user] = self._counts.get(entry.user, 0) + 1

    def take(self, task: str) -> None:
        """Remove a task, if it is there."""
        entry = self._entries.pop(task, None)
        if entry is None:
            return
        lines = self._lines[entry.user]
        lines[entry.priority].take(entry)
        if not lines[entry.priority].entries:
            del lines[entry.priority]
        self._counts[entry.user] -= 1
        if not lines:
            del self._lines[entry.user], self._counts[entry.user]

    def copy(self) -> Self:
        """The same tasks; what is put or taken later is not seen there."""
        other = type(self)(view=self._view)
        other._entries, other._counts = dict(self._entries), dict(self._counts)
        other._gone = self._gone
        other._lines = {
            user: {priority: line.copy() for priority, line in lines.items()}
            for user, lines in self._lines.items()
        }
        return other

    def without(self, tasks: Iterable[str]) -> Self:
        """The others. Not for changing, and only valid as long as this one does not change."""
        other = type(self)(view=self._view)
        other._entries, other._lines, other._counts = self._entries, self._lines, dict(self._counts)
        other._gone = {*self._gone, *(task for task in tasks if task in self)}
        for task in other._gone - set(self._gone):
            other._counts[self._entries[task].user] -= 1
        return other

    def __len__(self) -> int:
        return len(self._entries) - len(self._gone)

    def __contains__(self, task: str) -> bool:
        return task in self._entries and task not in self._gone

    def __iter__(self) -> Iterator[WaitingTask]:
        """All, in the order in which they were put."""
        lines = (line.entries for lines in self._lines.values() for line in lines.values())
        return self._shown(heapq.merge(*lines, key=lambda entry: entry.index))

    def ids(self) -> Collection[str]:
        """The tasks' ids."""
        return self._entries.keys() - self._gone if self._gone else self._entries.keys()

    def find(self, task: str) -> WaitingTask | None:
        """One task."""
        return self._view(self._entries[task]) if task in self else None

    def counts(self) -> dict[str, int]:
        """How many tasks each user has here."""
        return {user: count for user, count in self._counts.items() if count}

    @property
    def top(self) -> int:
        """The highest priority; 0 without any task."""
        return max((priority for lines in self._lines.values() for priority in lines), default=0)

    def line(self, user: str, rank: Callable[[Entry], int]) -> Iterator[WaitingTask]:
        """One user's tasks, those of the highest rank first, then the one put first.

        `rank` must not rise with the index among tasks of one priority.
        """
        lines = [line.entries for line in self._lines[user].values()]
        if len(lines) == 1:
            return self._shown(lines[0])
        return self._shown(heapq.merge(*lines, key=lambda entry: (-rank(entry), entry.index)))

    def newest(self, after: float, most: int) -> list[float]:
        """When the newest tasks were put, of each line up to `most` and only those put later than `after`."""
        found: list[float] = []
        for lines in self._lines.values():
            for line in lines.values():
                for entry in islice(reversed(line.entries), most):
                    if entry.created_at <= after:
                        break
                    if entry.id not in self._gone:
                        found.append(entry.created_at)
        return found

    def _shown(self, entries: Iterable[E]) -> Iterator[WaitingTask]:
        return (self._view(entry) for entry in entries if entry.id not in self._gone)
