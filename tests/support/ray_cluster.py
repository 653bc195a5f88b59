"""A small Ray cluster on this host: a head and further nodes with made-up GPUs, each a raylet of its own.

It lives in a process of its own (`python -m tests.support.ray_cluster`), so that Ray's signal handlers and threads
stay out of the tests, and ends with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from backend.processes import wait_until

ROOT = Path(__file__).parents[2]
STORE = 80 * 1024 * 1024
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_RAY_TASK_EVENTS": "0",
    "RAY_enable_metrics_collection": "false",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


class RayCluster:
    """Nodes of `gpus` each; the first is the head."""

    def __init__(self, *gpus: int) -> None:
        # Short: Ray's sockets lie in it.
        self.folder = Path(tempfile.mkdtemp(prefix="ry-", dir="/tmp"))
        # Each of Ray's many processes imports jsonschema, which takes two seconds where this package is installed.
        (self.folder / "quick").mkdir()
        (self.folder / "ray").mkdir()
        (self.folder / "quick" / "rfc3987_syntax.py").write_text("raise ImportError\n")
        self.python_path = os.pathsep.join([str(self.folder / "quick"), str(ROOT)])
        self._log = (self.folder / "cluster.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ray_cluster", str(self.folder), *map(str, gpus)],
            cwd=ROOT,
            env={**os.environ, **_QUIET, "PYTHONPATH": self.python_path, "RAY_TMPDIR": str(self.folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            text=True,
        )
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        assert answer, (self.folder / "cluster.log").read_text()[-4000:]
        told = json.loads(answer)
        self.address: str = told["address"]
        self.nodes: list[str] = [node["id"] for node in told["nodes"]]
        self._raylets: list[int] = [node["raylet"] for node in told["nodes"]]

    def kill_raylet(self, number: int) -> None:
        """kill -9 to a node's own process."""
        psutil.Process(self._raylets[number]).kill()

    def close(self) -> None:
        """End every process of the cluster."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(30.0)
        finally:
            self._process.kill()
            self._process.stdout.close()
            self._log.close()
        mine = [p for p in psutil.process_iter() if _is_of(p, str(self.folder))]
        assert wait_until(lambda: not any(p.is_running() for p in mine), 20.0), mine
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_of(process: psutil.Process, folder: str) -> bool:
    try:
        return folder in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _main(folder: str, gpus: list[int]) -> None:
    from ray.cluster_utils import Cluster

    nodes: list[Any] = []
    cluster = Cluster()
    for count in gpus:
        nodes.append(
            cluster.add_node(
                num_cpus=1,
                num_gpus=count,
                object_store_memory=STORE,
                include_dashboard=False,
                temp_dir=folder,
                labels={"room": f"r{len(nodes)}"},
            )
        )
    told = [{"id": node.node_id, "raylet": _raylet(node)} for node in nodes]
    print(json.dumps({"address": cluster.address, "nodes": told}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


def _raylet(node: Any) -> int:
    (info,) = node.all_processes["raylet"]
    pid: int = info.process.pid
    return pid


if __name__ == "__main__":
    _main(sys.argv[1], [int(each) for each in sys.argv[2:]])
