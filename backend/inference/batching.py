"""Which waiting queries are drawn next, and together. Pure.

Queries that need the same weights and the same size of picture are drawn together and may join between any two steps.
One that needs others waits until those under way are done; from `PATIENCE` seconds on, nobody joins before it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A query that waits: what it has to have in common with others, since when (seconds), how many pictures."""

    kind: Hashable
    since: float
    pictures: int


def joining(
    waiting: Sequence[Waiting], current: Hashable | None, *, now: float, room: int, busy: bool
) -> tuple[Hashable | None, list[int]]:
    """Which of the waiting, oldest first, begin now; and what those under way then have in common.

    Args:
        current: what the weights are at present, None before the first query.
        room: pictures that may be added; one query always begins when nothing is under way.
        busy: whether anything is under way.
    """
    if not waiting:
        return current, []
    other = next((each for each in waiting if each.kind != current), None)
    overdue = other is not None and now - other.since > PATIENCE
    fitting = any(each.kind == current for each in waiting)
    if not busy and (not fitting or overdue):
        current = other.kind if other is not None else current
    elif overdue:
        return current, []
    begin: list[int] = []
    for place, each in enumerate(waiting):
        if each.kind != current:
            continue
        if each.pictures > room and (begin or busy):
            break
        begin.append(place)
        room -= each.pictures
    return current, begin
