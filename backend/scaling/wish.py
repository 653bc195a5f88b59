"""What a rule answers, before bounds are applied and instances are chosen."""

from __future__ import annotations

from dataclasses import dataclass

ASSUMED_COLD_START = 30.0
"""Seconds that a first boot is taken to need, until one has been measured."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A number of instances, with its reason and what spoke against one more (both without a full stop)."""

    desired: int
    why: str
    why_not_more: str = ""
    wake_at: float | None = None


def earliest(*times: float | None) -> float | None:
    """The first of some times, of which any may be None."""
    return min((at for at in times if at is not None), default=None)


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
