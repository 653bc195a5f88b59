"""A launcher of pods before a cluster of a test's own, and the instances as a store would tell of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backend.instance import Instance, InstanceState
from backend.pool.kubernetes.api import connect
from backend.pool.kubernetes.launcher import KubernetesLauncher
from backend.pool.kubernetes.pod import read_plan
from backend.pool.launcher import Order
from backend.processes import wait_until
from backend.service import Description, parse
from backend.settings import Settings
from tests.support.cluster.cluster import Cluster

PATIENCE = 10.0
_NUMBERS = itertools.count(1)


class KubernetesWorld:
    """`present` is what the store says; a second `launcher` is what another supervisor would have."""

    def __init__(self, cluster: Cluster, **settings: Any) -> None:
        self.cluster = cluster
        self.settings = Settings(save_grace=20, stop_grace=3, **settings)
        self.present: dict[str, Instance] = {}
        self.told: dict[str, str] = {}
        self.changed = threading.Event()
        self.description = self.describe()
        self.launchers: list[KubernetesLauncher] = []
        self.launcher = self.new_launcher()

    def describe(self, **parts: Any) -> Description:
        raw = {"metadata": {"name": "Kohya_job", "type": "ScalableJob"}, **parts}
        self.description = parse(raw).description
        return self.description

    def new_launcher(self, deployment: str = "d1") -> KubernetesLauncher:
        launcher = KubernetesLauncher(
            connect(self.settings),
            read_plan(self.settings),
            deployment=lambda: deployment,
            on_change=self.changed.set,
        )
        self.launchers.append(launcher)
        launcher.tend(list(self.present.values()))
        return launcher

    def order(self, **fields: Any) -> Instance:
        """An instance that has been ordered."""
        name = f"{next(_NUMBERS):012x}"
        given = {
            "state": InstanceState.STARTING,
            "created_at": time.time(),
            "launcher": "kubernetes",
            **fields,
        }
        instance = Instance(id=name, service=self.description.name, **given)
        self.present[name] = instance
        self.launcher.start(Order(name, instance.service, "", self.description))
        return instance

    def running(self, **fields: Any) -> Instance:
        """One whose pod runs."""
        instance = self.order(**fields)
        self.until(lambda: self.cluster.phase(instance.id) == "Running")
        return instance

    def change(self, instance: Instance, **fields: Any) -> Instance:
        """Have the store say something else about it."""
        self.present[instance.id] = replace(instance, **fields)
        return self.present[instance.id]

    def until(self, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait for something, as a supervisor that keeps calling."""

        def look() -> bool:
            for launcher in self.launchers[-1:]:
                launcher.tend(list(self.present.values()))
            return bool(condition())

        assert wait_until(look, patience), (
            f"pods: {[(p['metadata']['name'], p.get('status')) for p in self.cluster.pods()]}\n"
            f"exits: {self.launcher.exits()}\n"
            f"held up: {{self.launcher.progress()}}\n"
            f"asked: {[(each.verb, each.name) for each in self.cluster.api.requests]}"
        )

    def said(self, instance: Instance) -> str:
        """What is said of its start."""
        at = self.launcher.progress().get(instance.id)
        return "" if at is None else at.text

    def exit_of(self, instance: Instance) -> str:
        """Why it ended, as the launcher tells."""

        def look() -> bool:
            self.told.update({each.instance: each.reason for each in self.launcher.exits()})
            return instance.id in self.told

        self.until(look)
        return self.told[instance.id]

    def close(self) -> None:
        for launcher in self.launchers:
            launcher.close()
