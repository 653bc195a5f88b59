"""How far the starts of pods are, in stages that only go forward."""

from __future__ import annotations

from collections.abc import Set
from enum import IntEnum

from backend.pool.kubernetes import words
from backend.pool.kubernetes.api import Json
from backend.pool.launcher import Progress

PATIENCE = 1800.0
"""Seconds that a pod may wait for a node, and that its image may take: autoscalers add machines, images are large."""


class Stage(IntEnum):
    """Where a pod is on its way."""

    ORDERED = 0
    CREATED = 1
    PLACED = 2
    RUNS = 3


_TEXTS = {
    Stage.ORDERED: "",
    Stage.CREATED: "its pod waits for a node",
    Stage.PLACED: "its node prepares the pod: image, volumes",
    Stage.RUNS: "its container runs and gets ready",
}


def stage_of(pod: Json | None) -> Stage:
    """The stage that a pod shows; None: the API server has none yet."""
    if pod is None:
        return Stage.ORDERED
    if not pod["spec"].get("nodeName"):
        return Stage.CREATED
    return Stage.RUNS if pod.get("status", {}).get("phase") == "Running" else Stage.PLACED


class Stages:
    """When each start came to its stage."""

    def __init__(self) -> None:
        self._at: dict[str, tuple[Stage, float]] = {}

    def progress(self, name: str, pod: Json | None, word: str, trouble: str, now: float) -> Progress | None:
        """What is to be said of a start, None when there is nothing.

        `word` is what the launcher itself has to say, `trouble` why nothing is seen at present; `now` is since the
        epoch.
        """
        stage, since = self._at.get(name, (Stage.ORDERED, now))
        reached = stage_of(pod)
        if reached > stage:
            stage, since = reached, now
        self._at[name] = (stage, since)
        said = word or (words.look(pod).words if pod is not None else "") or trouble or _TEXTS[stage]
        patience = PATIENCE if stage in (Stage.CREATED, Stage.PLACED) else 0.0
        return Progress(said, since, patience) if said else None

    def keep(self, names: Set[str]) -> None:
        """Forget the others."""
        self._at = {name: at for name, at in self._at.items() if name in names}
