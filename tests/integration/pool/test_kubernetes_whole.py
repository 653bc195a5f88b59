"""A supervisor, a cluster whose nodes start real instances, and tasks that run there."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from backend.processes import wait_until
from backend.store import pools
from backend.task import TaskState
from tests.support.cluster.cluster import Cluster
from tests.support.pool_box import PATIENCE, ROOT, PoolBox, PoolWorld

_WORKER = (
    "import backend.pool.templates as t; t.TRAINING = ('backend.worker.guard',); "
    "from backend.cli import main; main()"
)


class Door(socketserver.ThreadingTCPServer):
    """A port that leads to the store's socket: pods know no files of this machine."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.path, password = unquote(parts.path), parts.password
        super().__init__(("127.0.0.1", 0), _Passage)
        self.url = f"redis://:{password}@127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever is cut off knows it."""


class _Passage(socketserver.BaseRequestHandler):
    server: Door

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as store:
            store.connect(self.server.path)
            back = threading.Thread(target=_copy, args=(store, self.request), daemon=True)
            back.start()
            _copy(self.request, store)
            back.join(5)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


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
