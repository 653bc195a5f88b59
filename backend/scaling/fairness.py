"""Whose turn it is: priority first, then the user who has had the least of the GPUs lately, then first come.

* Usage is GPU-seconds that fade with a half-life, so that last week's trainings do not count against today's.
* A task that has waited an hour ranks one priority higher, up to the highest priority that waits: low priority is
  late, never lost.
* A user's oldest task is passed by at most `MAX_OVERTAKEN` younger ones of its own priority, whatever its owner has
  used: every user with waiting work gets a turn, however many newcomers there are.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from backend.scaling.snapshot import Snapshot
from backend.scaling.waiting import Entry, WaitingTask

MAX_OVERTAKEN = 24
"""How many younger tasks may pass one task, by fair share or for the sake of a warm model."""

AGING_SECONDS = 3600.0
UNKNOWN_SECONDS = 60.0
"""What a task of unknown length is charged when it gets its turn."""


FORGOTTEN = 0.001
"""Seconds. Far less than the shortest task takes: many short ones must add up."""


@dataclass(frozen=True, slots=True)
class Usage:
    """GPU-seconds per user, halved every `half_life` seconds; `at` is when they were last right."""

    seconds: Mapping[str, float]
    at: float = 0.0
    half_life: float = 6 * 3600.0

    def at_time(self, now: float) -> Usage:
        """The same usage, faded to `now`. Users with next to nothing left are forgotten."""
        fade = 0.5 ** (max(0.0, now - self.at) / self.half_life)
        kept = {user: s * fade for user, s in self.seconds.items() if s * fade >= FORGOTTEN}
        return Usage(kept, max(now, self.at), self.half_life)

    def charge(self, user: str, seconds: float, now: float) -> Usage:
        """Add `seconds` of a GPU that `user` held until `now`."""
        faded = self.at_time(now)
        held = dict(faded.seconds)
        held[user] = held.get(user, 0.0) + seconds
        return Usage(held, faded.at, self.half_life)


class Lines:
    """The waiting tasks, one line per user, and the order in which their turns come.

    Tasks of a user over their running limit are not in any line: no instance would change their wait.
    """

    def __init__(self, snapshot: Snapshot, overtaken: Mapping[str, int]) -> None:
        self._snapshot = snapshot
        self._overtaken = overtaken
        self._top = snapshot.waiting.top
        self.share = shares(snapshot)
        self._room = self._rooms()

    def _rooms(self) -> dict[str, int]:
        """How many tasks of each user have a place in a line."""
        running = Counter(run.user for i in self._snapshot.instances for run in i.running)
        rooms = self._snapshot.waiting.counts()
        for user in rooms:
            limit = self._snapshot.settings.user_limit(user)
            if limit is not None:
                rooms[user] = min(rooms[user], max(0, limit - running[user]))
        return {user: room for user, room in rooms.items() if room}

    def __len__(self) -> int:
        return sum(self._room.values())

    def rank(self, task: Entry) -> int:
        """The priority that a task has by now."""
        hours = max(0, math.floor((self._snapshot.now - task.created_at) / AGING_SECONDS))
        return min(self._top, task.priority + hours)

    def _line(self, user: str) -> Iterator[WaitingTask]:
        return islice(self._snapshot.waiting.line(user, self.rank), self._room[user])

    def turns(self) -> Iterator[WaitingTask]:
        """Every task that may run, in the order of turns, charging each to its user as it is given."""
        share = dict(self.share)
        lines = {user: self._line(user) for user in self._room}
        heads: dict[str, WaitingTask] = {}
        ready: list[tuple[int, float, int, str]] = []
        overdue: dict[int, list[tuple[int, int, str]]] = {}
        given: Counter[int] = Counter()

        def offer(user: str) -> None:
            head = next(lines[user], None)
            if head is None:
                heads.pop(user, None)
                return
            heads[user], rank = head, self.rank(head)
            heapq.heappush(ready, (-rank, share.get(user, 0.0), head.index, user))
            due = given[rank] + MAX_OVERTAKEN - self._overtaken.get(head.id, 0)
            heapq.heappush(overdue.setdefault(rank, []), (due, head.index, user))

        def stale(user: str, index: int) -> bool:
            return user not in heads or heads[user].index != index

        for user in lines:
            offer(user)
        while ready:
            rank, index, user = -ready[0][0], ready[0][2], ready[0][3]
            late = overdue[rank]
            while late and stale(late[0][2], late[0][1]):
                heapq.heappop(late)
            if stale(user, index):
                heapq.heappop(ready)
                continue
            if late and late[0][0] <= given[rank]:
                user = late[0][2]
            task = heads[user]
            given[rank] += 1
            share[user] = share.get(user, 0.0) + _charge(task.seconds, task.kind, self._snapshot.slots)
            yield task
            offer(user)

    def count_overtaken(self, begun: set[str], skipped: Mapping[str, int]) -> dict[str, int]:
        """The overtaken counts once the tasks `begun` have left.

        For a task at the head of its user's line it is one more for each younger one that went ahead; for one behind
        it, whose turn was not yet, as often as it was `skipped` to meet a warm model or a free slot.
        """
        gone: dict[int, list[int]] = {}
        for task in self._known(begun):
            gone.setdefault(self.rank(task), []).append(task.index)
        for indexes in gone.values():
            indexes.sort()
        heads = {task.id: task for task in self._heads(begun)}
        behind = {*self._overtaken, *skipped} - begun - heads.keys()
        counts: dict[str, int] = {}
        for task in (*heads.values(), *self._known(behind)):
            passed = skipped.get(task.id, 0)
            if task.id in heads:
                lower = (indexes for rank, indexes in gone.items() if rank <= self.rank(task))
                passed = sum(len(indexes) - bisect(indexes, task.index) for indexes in lower)
            total = self._overtaken.get(task.id, 0) + passed
            if total:
                counts[task.id] = total
        return counts

    def _heads(self, begun: set[str]) -> Iterator[WaitingTask]:
        for user in self._room:
            head = next((task for task in self._line(user) if task.id not in begun), None)
            if head is not None:
                yield head

    def _known(self, tasks: Iterable[str]) -> Iterator[WaitingTask]:
        return (found for task in tasks if (found := self._snapshot.waiting.find(task)) is not None)


def shares(snapshot: Snapshot) -> dict[str, float]:
    """Each user's recent GPU-seconds, with what their running tasks have used and will use."""
    share = dict(snapshot.usage)
    for instance in snapshot.instances:
        for run in instance.running:
            seconds = max(0.0, snapshot.now - run.started_at) + (run.remaining or 0.0)
            share[run.user] = share.get(run.user, 0.0) + _charge(seconds, run.kind, instance.slots)
    return share


def _charge(seconds: float | None, kind: str, slots: int) -> float:
    seconds = UNKNOWN_SECONDS if seconds is None else seconds
    return seconds / slots if kind == "query" else seconds
