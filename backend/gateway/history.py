"""A history made small enough to be drawn: what matters of a queue is how long it was at its longest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def thinned(moments: Sequence[Mapping[str, Any]], points: int) -> list[Mapping[str, Any]]:
    """At most `points` of the moments, which are in order of time: of each slice of time the longest queue and the
    last; the first and the last of all are always among them.
    """
    if len(moments) <= points:
        return list(moments)
    slices = max(1, points // 2)
    begin, end = moments[0]["at"], moments[-1]["at"]
    length = (end - begin) / slices or 1.0
    kept: dict[int, list[Mapping[str, Any]]] = {}
    for moment in moments:
        place = min(slices - 1, int((moment["at"] - begin) / length))
        peak, _ = kept.get(place, (moment, moment))
        kept[place] = [peak if peak["waiting"] >= moment["waiting"] else moment, moment]
    found = [moments[0], *(moment for pair in kept.values() for moment in pair)]
    return list({moment["at"]: moment for moment in found}.values())[: points + 1]
