"""What only a cluster can do to its instances: lose a node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from backend.instance import InstanceState
from backend.pool.launcher import Launcher
from backend.pool.reaper import Reaper
from backend.store.embedded import EmbeddedStore
from tests.support.launcher_rigs import RayRig


class Cluster(RayRig):
    """Two nodes with one made-up GPU each, and the part of the supervisor that buries instances."""

    reasons: dict[str, str] = {}

    def make(self) -> Launcher:
        launcher = super().make()
        self.reaper = Reaper(self.store, launcher, start_deadline=60.0, grace=0.0)
        return launcher

    def look(self) -> None:
        """A pass: the reaper hears of ends."""
        self.launcher.tend(self.present())
        self.reaper.reap(self.present(), {self.service: 3})
        self.reasons |= self.reaper._lost


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    server = EmbeddedStore(tmp_path_factory.mktemp("ray"))
    server.start()
    try:
        cluster = Cluster(server.url)
        try:
            yield cluster
        finally:
            cluster.close()
    finally:
        server.stop()


def test_a_lost_node_is_a_lost_instance_and_no_other(cluster: Cluster) -> None:
    both = {cluster.up().id for _ in range(2)}
    where = {name: cluster.node_of(name) for name in both}
    assert set(where.values()) == set(cluster.cluster.nodes), "one on each node"
    (lost,) = [name for name, node in where.items() if node == cluster.cluster.nodes[1]]
    (kept,) = both - {lost}
    cluster.cluster.kill_raylet(1)
    assert cluster.eventually(lambda: cluster.instance_state(lost) is InstanceState.GONE)
    assert "Ray node" in cluster.reasons[lost]
    assert cluster.instance_state(kept) is InstanceState.IDLE
    assert cluster.traces() == {kept}, "nothing of it runs on"
    assert cluster.eventually(lambda: cluster.launcher.free_devices([], cluster.description) == [])
    waiting = cluster.order()
    assert cluster.eventually(lambda: "is taken" in cluster.launcher.progress()[waiting.id].text)
