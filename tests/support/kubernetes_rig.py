"""The launcher of pods on a cluster of its own, for the tests of the contract. Containers are played."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from backend.pool.kubernetes import launcher
from backend.pool.kubernetes.api import connect
from backend.pool.kubernetes.launcher import KubernetesLauncher
from backend.pool.kubernetes.pod import read_plan
from backend.pool.launcher import Launcher
from backend.processes import wait_until
from backend.settings import Settings
from tests.support.cluster.cluster import Cluster
from tests.support.launcher_rig import PATIENCE, PlayedRig


class KubernetesRig(PlayedRig):
    """An API server with nodes; what an instance says to the store, the rig says once its container runs."""

    def __init__(self, url: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cluster-"))
        self.cluster = Cluster(self._folder)
        self._abandoned = False
        self._patience = launcher.STRAY_AFTER, launcher.JUST_NOW
        launcher.STRAY_AFTER, launcher.JUST_NOW = 0.3, 0.3
        self.cluster.secret("lorapool", redis_url=url)
        super().__init__(url)

    def make(self) -> Launcher:
        settings = Settings(save_grace=20)
        with mock.patch.dict(os.environ, {"KUBECONFIG": str(self.cluster.kube_config)}):
            os.environ.pop("KUBERNETES_SERVICE_HOST", None)
            server = connect(settings)
        return KubernetesLauncher(
            server, read_plan(settings), deployment=lambda: "contract", on_change=self.changed.set
        )

    def traces(self) -> set[str]:
        return {pod["metadata"]["labels"]["lorapool.internal/instance"] for pod in self.cluster.pods()}

    def comes_up(self, instance: str) -> None:
        assert wait_until(lambda: self.cluster.phase(instance) == "Running", PATIENCE)
        super().comes_up(instance)

    def abandon(self) -> None:
        super().abandon()
        self._abandoned = True

    def next_supervisor(self) -> None:
        self._abandoned = False
        super().next_supervisor()

    def crash(self, instance: str) -> None:
        name = self.cluster.name_of(instance)
        self.cluster.nodes.finish(name, 137)
        if self._abandoned:  # nobody is there to remove what is left of the pod, but whoever removes its node
            self.cluster.objects.delete("pods", self.cluster.namespace, name, {})

    @contextmanager
    def refused(self) -> Iterator[None]:
        quota = self.cluster.quota(pods=0)
        yield
        quota.hard.clear()

    @contextmanager
    def congested(self) -> Iterator[None]:
        nodes, self.cluster.nodes.nodes = self.cluster.nodes.nodes, []
        yield
        self.cluster.nodes.nodes = nodes

    def close(self) -> None:
        try:
            super().close()
        finally:
            launcher.STRAY_AFTER, launcher.JUST_NOW = self._patience
            self.cluster.close()
            shutil.rmtree(self._folder)
