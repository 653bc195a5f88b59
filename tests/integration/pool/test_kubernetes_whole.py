"""A supervisor, a cluster whose nodes start real instances, and tasks that run there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.processes import wait_until
from backend.store import pools
from backend.task import TaskState
from tests.support.cluster.cluster import Cluster
from tests.support.door import Door
from tests.support.pool_box import PATIENCE, ROOT, PoolBox, PoolWorld

_WORKER = (
    "import backend.pool.templates as t; t.TRAINING = ('backend.worker.guard',); "
    "from backend.cli import main; main()"
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "cluster", run=True)
    yield cluster
    cluster.close()


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path) -> Iterator[PoolWorld]:
    box = PoolBox(tmp_path / "data")
    door = Door(box.server.url)
    cluster.secret("lorapool", redis_url=door.url)
    container = {
        "name": "instance",
        "image": "lorapool-instance",
        "command": [sys.executable, "-c", _WORKER],
        "workingDir": str(ROOT),
        "env": [
            {"name": "LORAPOOL_DATA_DIR", "value": str(box.data_dir)},
            {"name": "REDIS_URL", "valueFrom": {"secretKeyRef": {"name": "lorapool", "key": "redis-url"}}},
        ],
    }
    template = tmp_path / "pod.yaml"
    template.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}))
    box.supervisor(
        REDIS_URL=door.url,
        LORAPOOL_LAUNCHER="kubernetes",
        KUBECONFIG=str(cluster.kube_config),
        KUBERNETES_SERVICE_HOST="",
        LORAPOOL_KUBERNETES_POD_TEMPLATE=str(template),
    )
    yield box.world(
        autoscaler={"min": 0, "max": 1, "behavior": {"onZero": {"scaleDownGracePeriodSeconds": 1}}}
    )
    box.close()
    door.shutdown()
    door.server_close()


def test_from_zero_over_an_eviction_to_zero(world: PoolWorld, cluster: Cluster) -> None:
    quota = cluster.quota(pods=0)
    task = world.submit("echo up; test -e again || { touch again; sleep 60; }; echo done")

    # the quota is the first obstacle, and the journal says so
    def explained() -> bool:
        decisions = world.store.run(pools.decisions(world.service))
        return any(
            "quota of namespace studio is used up" in each.get("why_not_more", "") for each in decisions
        )

    assert wait_until(explained, PATIENCE), world.box.log
    quota.hard["pods"] = 1
    world.running_task(task)
    (pod,) = [each for each in cluster.pods() if each["status"]["phase"] == "Running"]

    # while it is busy, nobody is to move it; yet the node must
    def marked() -> bool:
        found = cluster.objects.get("pods", cluster.namespace, pod["metadata"]["name"])
        return bool(
            found["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
        )

    assert wait_until(marked, PATIENCE)
    cluster.nodes.evict(pod["metadata"]["name"])
    done = world.result(task)
    assert done.state is TaskState.SUCCEEDED, done
    first, second = done.attempts
    assert "evicted from node node-1" in first.reason
    assert first.instance != second.instance
    # nothing is left when there is nothing to do
    assert wait_until(lambda: cluster.pods() == [], PATIENCE), world.box.log
