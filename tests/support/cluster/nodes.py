"""Scheduler and kubelets: they bind pods to nodes, start their containers, and say what becomes of them.

A container is a real process where a `Cluster` is told to run them; else it only is said to run, until a test ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cluster.objects import FINAL, Answer, Json, Objects, stamp

_LAST_BYTES = 2048  # of a log, as terminationMessagePolicy FallbackToLogsOnError has them


@dataclass
class Node:
    """`capacity` of extended resources and so on; `lost`: it neither acts nor says anything any more."""

    name: str
    capacity: dict[str, int] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    taints: list[Json] = field(default_factory=list)
    lost: bool = False


class Nodes:
    """A thread that looks at every pod after each change. `stubborn`: containers that do not end when they are told."""

    def __init__(self, objects: Objects, namespace: str, logs: Path | None, images: set[str] | None) -> None:
        self.nodes: list[Node] = [Node("node-1")]
        self.images = images
        self.stubborn = False
        self._objects = objects
        self._namespace = namespace
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._killed_at: dict[str, float] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._thread.join(5)
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def finish(self, name: str, code: int = 0, *, reason: str = "", message: str = "") -> None:
        """Have a pod's container end."""
        ended = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "message": message}
        self._set(name, self._ended(self._pod(name), ended))

    def evict(self, name: str, message: str = "The node was low on resource: ephemeral-storage.") -> None:
        """As a kubelet does under pressure."""
        self._signal(name, signal.SIGKILL)
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
        self._set(
            name, {"phase": "Failed", "reason": "Evicted", "message": message, "conditions": [condition]}
        )

    def run_out_of_memory(self, name: str) -> None:
        """As the kernel does to a container that is over its limit."""
        self._signal(name, signal.SIGKILL)
        self.finish(name, 137, reason="OOMKilled")

    def lose(self, name: str) -> None:
        """A node falls silent; what ran there is gone with it."""
        node = next(node for node in self.nodes if node.name == name)
        node.lost = True
        for pod in self._pods():
            if pod["spec"].get("nodeName") == name:
                self._signal(pod["metadata"]["name"], signal.SIGKILL)

    def notice(self, name: str) -> None:
        """The node controller has not heard of a lost node for 50 s: it takes its pods' readiness away, and no more."""
        for pod in self._pods():
            if pod["spec"].get("nodeName") == name:
                condition = {"type": "Ready", "status": "False"}
                self._set(pod["metadata"]["name"], {"conditions": [condition]})

    def remove(self, name: str) -> None:
        """A lost node is taken out of the cluster: the pod collector removes its pods."""
        self.nodes = [node for node in self.nodes if node.name != name]
        for pod in self._pods():
            if pod["spec"].get("nodeName") == name:
                gone = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
                gone["message"] = "PodGC: node no longer exists"
                self._set(pod["metadata"]["name"], {"phase": "Failed", "conditions": [gone]})
                self._delete(pod["metadata"]["name"], 0)

    def _run(self) -> None:
        while not self._closing:
            with self._objects.changed:
                self._objects.changed.wait(0.05)
            for pod in self._pods():
                with contextlib.suppress(Answer):
                    self._tend(pod)

    def _pods(self) -> list[Json]:
        return self._objects.list("pods", self._namespace)

    def _pod(self, name: str) -> Json:
        return self._objects.get("pods", self._namespace, name)

    def _tend(self, pod: Json) -> None:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        node = pod["spec"].get("nodeName")
        if not node:
            self._schedule(pod)
            return
        if all(each.lost for each in self.nodes if each.name == node):
            return
        if status.get("phase") in FINAL:
            return
        process = self._processes.get(name)
        if process is not None and process.poll() is not None:
            self._report_end(pod, process)
        elif "deletionTimestamp" in pod["metadata"]:
            self._end(pod, process)
        elif "containerStatuses" not in status or "waiting" in status["containerStatuses"][0]["state"]:
            self._begin(pod)

    def _schedule(self, pod: Json) -> None:
        fitting = [node for node in self.nodes if not self._why_not(pod, node)]
        if fitting:

            def bind(new: Json) -> Json:
                new["spec"]["nodeName"] = fitting[0].name
                bound = {"type": "PodScheduled", "status": "True"}
                new["status"] = {"phase": "Pending", "conditions": [bound]}
                return new

            self._objects.update("pods", self._namespace, pod["metadata"]["name"], bind, status=True)
            return
        reasons = "; ".join(sorted({self._why_not(pod, node) for node in self.nodes}))
        count = len(self.nodes)
        message = (
            f"0/{count} nodes are available: {reasons}. no new claims to deallocate, preemption: 0/{count} nodes are "
            f"available: {count} Preemption is not helpful for scheduling."
        )
        condition = {
            **{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        }
        self._set(pod["metadata"]["name"], {"phase": "Pending", "conditions": [condition]})

    def _why_not(self, pod: Json, node: Node) -> str:
        if node.lost:
            return "1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }"
        if not pod["spec"].get("nodeSelector", {}).items() <= node.labels.items():
            return "1 node(s) didn't match Pod's node affinity/selector"
        for taint in node.taints:
            if not any(t.get("key") == taint["key"] for t in pod["spec"].get("tolerations", [])):
                return f"1 node(s) had untolerated taint {{{taint['key']}: }}"
        for name, amount in _requests(pod).items():
            if "/" in name and self._used(node, name) + int(amount) > node.capacity.get(name, 0):
                return f"1 Insufficient {name}"
        return ""

    def _used(self, node: Node, resource: str) -> int:
        living = [p for p in self._pods() if p.get("status", {}).get("phase") not in FINAL]
        here = [pod for pod in living if pod["spec"].get("nodeName") == node.name]
        return sum(int(_requests(pod).get(resource, 0)) for pod in here)

    def _begin(self, pod: Json) -> None:
        container = pod["spec"]["containers"][0]
        image = container["image"]
        if self.images is not None and image not in self.images:
            self._wait(pod, "ErrImagePull", f'failed to pull and unpack image "{image}": not found')
            return
        try:
            variables = {each["name"]: self._value(each) for each in container.get("env", [])}
        except Answer as missing:
            self._wait(pod, "CreateContainerConfigError", str(missing))
            return
        name = pod["metadata"]["name"]
        if self._logs is not None:
            self._processes[name] = self._start(name, container, variables)
        state = {"running": {"startedAt": stamp()}}
        self._set(name, {"phase": "Running", "containerStatuses": [self._container(pod, state)]})

    def _start(self, name: str, container: Json, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        assert self._logs is not None
        with (self._logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*container["command"], *container.get("args", [])],
                env={"PATH": os.environ["PATH"], "TMPDIR": os.environ.get("TMPDIR", "/tmp"), **variables},
                cwd=container.get("workingDir"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _value(self, variable: Json) -> str:
        if "valueFrom" not in variable:
            return str(variable.get("value", ""))
        where = variable["valueFrom"]["secretKeyRef"]
        secret = self._objects.get("secrets", self._namespace, where["name"])
        return str(secret["stringData"][where["key"]])

    def _wait(self, pod: Json, reason: str, message: str) -> None:
        state = {"waiting": {"reason": reason, "message": message}}
        self._set(
            pod["metadata"]["name"], {"phase": "Pending", "containerStatuses": [self._container(pod, state)]}
        )

    def _container(self, pod: Json, state: Json) -> Json:
        container = pod["spec"]["containers"][0]
        image = container["image"]
        return {
            **{"name": container["name"], "image": image, "imageID": f"{image}@sha256:0", "state": state},
            **{"ready": "running" in state, "restartCount": 0},
        }

    def _ended(self, pod: Json, how: Json) -> Json:
        state = {"terminated": {**how, "finishedAt": stamp()}}
        phase = "Failed" if how["exitCode"] else "Succeeded"
        return {"phase": phase, "containerStatuses": [self._container(pod, state)]}

    def _end(self, pod: Json, process: subprocess.Popen[bytes] | None) -> None:
        name = pod["metadata"]["name"]
        grace = pod["metadata"].get("deletionGracePeriodSeconds", 30)
        now = time.monotonic()
        began = self._killed_at.setdefault(name, now)
        if process is None:
            if not self.stubborn or now - began > grace:
                self._set(name, self._ended(pod, {"exitCode": 0, "reason": "Completed"}))
                self._delete(name, 0)
        elif now - began > grace:
            self._signal(name, signal.SIGKILL)
        elif began == now:
            process.terminate()

    def _report_end(self, pod: Json, process: subprocess.Popen[bytes]) -> None:
        name = pod["metadata"]["name"]
        assert self._logs is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a container takes all of its processes with it
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        said = (self._logs / f"{name}.log").read_bytes()[-_LAST_BYTES:].decode("utf-8", "replace")
        how = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": said if code else "",
        }
        self._set(name, self._ended(pod, how))
        if "deletionTimestamp" in pod["metadata"]:
            self._delete(name, 0)

    def _signal(self, name: str, sig: signal.Signals) -> None:
        process = self._processes.get(name)
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sig)

    def _delete(self, name: str, grace: int) -> None:
        with contextlib.suppress(Answer):
            self._objects.delete("pods", self._namespace, name, {"gracePeriodSeconds": grace})

    def _set(self, name: str, status: Json) -> None:
        def change(pod: Json) -> Json:
            merged: dict[str, Any] = {**pod.get("status", {}), **status}
            pod["status"] = merged
            return pod

        with contextlib.suppress(Answer):
            self._objects.update("pods", self._namespace, name, change, status=True)


def _requests(pod: Json) -> dict[str, str]:
    found: dict[str, str] = {}
    for container in pod["spec"]["containers"]:
        found |= container.get("resources", {}).get("requests", {})
    return found
