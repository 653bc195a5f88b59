"""A burst of trainings over the nodes of a Ray cluster, one of which is lost in the middle."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from backend.client import Client
from backend.views import AttemptView, TaskView
from benchmarks._pool import Lived, lives
from tests.support.box import Box, training, until
from tests.support.ray_cluster import RayCluster

SERVICE = "burst"


@dataclass(frozen=True)
class Story:
    """What happened, times in seconds since the epoch."""

    began: float
    killed: float
    back_to_zero: float
    tasks: list[TaskView]
    lives: list[Lived]

    @property
    def moved(self) -> list[TaskView]:
        """Trainings that were begun on more than one instance."""
        return [task for task in self.tasks if len(task.attempts) > 1]

    def doubled(self) -> list[str]:
        """Trainings that ran twice at one time, or came to their end twice."""
        return [task.id for task in self.tasks if _overlap(task.attempts) or _ends(task) != 1]


def _overlap(attempts: list[AttemptView]) -> bool:
    ordered = sorted(attempts, key=lambda attempt: attempt.started_at)
    return any((a.ended_at or 0) > b.started_at for a, b in pairwise(ordered))


def _ends(task: TaskView) -> int:
    return sum(attempt.outcome == "succeeded" for attempt in task.attempts)


def tell(folder: Path, *, gpus: tuple[int, int], trainings: int, steps: int) -> Story:
    """`up --launcher ray` on two nodes; the second is killed when every GPU has a training and a few have ended."""
    cluster = RayCluster(*gpus)
    try:
        described = _describe(folder, sum(gpus))
        launcher = ("--launcher", "ray", "--ray-address", cluster.address)
        box = Box(folder / "data", arguments=(*launcher, str(described)))
        box.start(PYTHONPATH=cluster.python_path)
        try:
            with box.client() as client:
                return _burst(box, client, cluster, sum(gpus), trainings, steps)
        finally:
            box.stop()
            assert not box.processes(), box.processes()
    finally:
        cluster.close()


def _describe(folder: Path, most: int) -> Path:
    """The only service. It scales as EAS does: an instance for each task that waits."""
    description = {
        "metadata": {"name": SERVICE, "type": "ScalableJob", "gpu": 1},
        "autoscaler": {
            **{"min": 0, "max": most, "strategies": {"avg_waiting_length": 1}},
            "behavior": {"onZero": {"scaleDownGracePeriodSeconds": 3}},
        },
    }
    path = folder / "burst.json"
    path.write_text(json.dumps(description))
    return path


def _burst(box: Box, client: Client, cluster: RayCluster, most: int, trainings: int, steps: int) -> Story:
    service = client.service(SERVICE)
    began = time.time()
    handles = [
        service.submit(argv=training(box, "--save_state", steps=steps, name=f"lora-{n}"))
        for n in range(trainings)
    ]

    def running() -> list[TaskView]:
        return [view for view in client.tasks(service=SERVICE, limit=500) if view.state == "running"]

    until(lambda: len({view.instance for view in running()}) == most, f"{most} instances at work", 300.0)
    lost = time.time()
    cluster.kill_raylet(1)
    for handle in handles:
        handle.wait(300.0)
    until(lambda: not client.instances(SERVICE), "back to zero", 120.0)
    back = time.time()
    return Story(began, lost, back, [handle.view() for handle in handles], lives(box, SERVICE))
