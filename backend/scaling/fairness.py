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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backend.scaling.snapshot import Snapshot, WaitingTask

MAX_OVERTAKEN = 16
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
        self.share = shares(snapshot)
        self.position = {task.id: place for place, task in enumerate(snapshot.waiting)}
        self.rank = _ranks(snapshot)
        self.lines = self._split()

    def _split(self) -> dict[str, list[WaitingTask]]:
        lines: dict[str, list[WaitingTask]] = {}
        for task in self._snapshot.waiting:
            lines.setdefault(task.user, []).append(task)
        running = Counter(run.user for i in self._snapshot.instances for run in i.running)
        for user, line in lines.items():
            line.sort(key=lambda task: -self.rank[task.id])
            limit = self._snapshot.settings.user_limit(user)
            if limit is not None:
                del line[max(0, limit - running[user]) :]
        return {user: line for user, line in lines.items() if line}

    def turns(self) -> Iterator[WaitingTask]:
        """Every task that may run, in the order of turns, charging each to its user as it is given."""
        share = dict(self.share)
        ready: list[tuple[int, float, int, str, int]] = []
        overdue: dict[int, list[tuple[int, int, str, int]]] = {}
        given: Counter[int] = Counter()
        at = dict.fromkeys(self.lines, 0)

        def offer(user: str) -> None:
            if at[user] == len(self.lines[user]):
                return
            head = self.lines[user][at[user]]
            rank, place = self.rank[head.id], self.position[head.id]
            heapq.heappush(ready, (-rank, share.get(user, 0.0), place, user, at[user]))
            due = given[rank] + MAX_OVERTAKEN - self._overtaken.get(head.id, 0)
            heapq.heappush(overdue.setdefault(rank, []), (due, place, user, at[user]))

        for user in self.lines:
            offer(user)
        while ready:
            rank, user, turn = -ready[0][0], ready[0][3], ready[0][4]
            late = overdue[rank]
            while late and late[0][3] != at[late[0][2]]:
                heapq.heappop(late)
            if turn != at[user]:
                heapq.heappop(ready)
                continue
            if late and late[0][0] <= given[rank]:
                user = late[0][2]
            task = self.lines[user][at[user]]
            at[user] += 1
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
        for task in begun:
            gone.setdefault(self.rank[task], []).append(self.position[task])
        for positions in gone.values():
            positions.sort()
        heads = {next((t.id for t in line if t.id not in begun), "") for line in self.lines.values()}
        counts: dict[str, int] = {}
        for task in ({*heads, *self._overtaken, *skipped} - begun) & self.position.keys():
            passed = skipped.get(task, 0)
            if task in heads:
                lower = (positions for rank, positions in gone.items() if rank <= self.rank[task])
                passed = sum(len(positions) - bisect(positions, self.position[task]) for positions in lower)
            total = self._overtaken.get(task, 0) + passed
            if total:
                counts[task] = total
        return counts


def eligible(snapshot: Snapshot, overtaken: Mapping[str, int]) -> list[WaitingTask]:
    """The waiting tasks that an instance could run now, in the order of their turns."""
    return list(Lines(snapshot, overtaken).turns())


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


def _ranks(snapshot: Snapshot) -> dict[str, int]:
    if not snapshot.waiting:
        return {}
    top = max(task.priority for task in snapshot.waiting)
    return {
        task.id: min(
            top, task.priority + max(0, math.floor((snapshot.now - task.created_at) / AGING_SECONDS))
        )
        for task in snapshot.waiting
    }
