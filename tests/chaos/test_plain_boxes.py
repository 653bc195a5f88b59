"""Two boxes that reach nothing but the gateway's port: hosts with addresses of their own, whose links are cut.

`LORAPOOL_LONG=1`: a cut of 30 s within a lease of 60, and one of 90 s beyond it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.instance import Instance
from backend.pool.pool import read_instances
from backend.processes import wait_until
from backend.store import tasks
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from backend.store.tasks import NewTask
from backend.task import Task, TaskState
from tests.support import namespaces
from tests.support.box import ENVIRONMENT, PATIENCE, ROOT, free_port

pytestmark = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not())

LONG = bool(os.environ.get("LORAPOOL_LONG"))
LEASE, SHORT_CUT, LONG_CUT, LINES = (60.0, 30.0, 90.0, 700) if LONG else (9.0, 3.0, 14.0, 120)
TOKEN = "the-administrator-s-token"
"""Of a deployment that only this test sees."""
EVERY = 0.2


class Boxes:
    """A gateway, a store and a supervisor on the hub; a worker on each of two boxes, by the gateway's port alone."""

    def __init__(self, folder: Path) -> None:
        self.hosts = namespaces.Hosts(2)
        self.data = folder / "data"
        self.port = free_port()
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the deployment, without instances of its own, and both workers."""
        self._spawn(
            self.hosts.hub,
            "hub",
            *("up", "--data-dir", str(self.data), "--no-ui"),
            *("--host", "0.0.0.0", "--port", str(self.port), str(self._description())),
        )
        with (self._folder / "hub.out").open() as out:
            assert wait_until(lambda: "ready:" in out.read(), PATIENCE), self.log("hub")
        for number in (1, 2):
            endpoint = f"http://{self.hosts.hub_address(number)}:{self.port}"
            self._spawn(self.hosts.host(number), f"box-{number}", "worker", "--endpoint", endpoint)

    def _description(self) -> Path:
        path = self._folder / "boxes.json"
        path.write_text(
            '{"metadata": {"name": "kohya_job", "type": "ScalableJob"}, "autoscaler": {"min": 0, "max": 3}}'
        )
        return path

    def _spawn(self, prefix: list[str], name: str, *command: str) -> None:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("LORAPOOL_", "REDIS_URL"))}
        given = {"LORAPOOL_LEASE_SECONDS": str(LEASE), "LORAPOOL_TOKEN": TOKEN, "LORAPOOL_STOP_GRACE": "1"}
        with (self._folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "backend.cli", *command],
                cwd=ROOT,
                env={**plain, **ENVIRONMENT, **given},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.out").read_text()

    def stop_worker(self, number: int) -> int:
        """SIGTERM to a box's worker; its exit code."""
        self._processes[number].send_signal(signal.SIGTERM)
        return self._processes[number].wait(PATIENCE)

    def close(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(PATIENCE)
                finally:
                    process.kill()
        self.hosts.close()


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    boxes = Boxes(tmp_path)
    try:
        boxes.start()
        yield boxes
    finally:
        boxes.close()


class Watch:
    """The deployment as its store has it, from outside all namespaces."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self._store = Store(EmbeddedStore(boxes.data).url)

    def instance_of(self, number: int) -> Instance | None:
        """The instance on a box, when it is up."""
        found = [i for i in read_instances(self._store) if i.host == f"box-{number}" and i.ready_at]
        return found[0] if found else None

    def on(self, number: int) -> Instance:
        def up() -> bool:
            return self.instance_of(number) is not None

        assert wait_until(up, PATIENCE), self._boxes.log(f"box-{number}") + self._boxes.log("hub")
        found = self.instance_of(number)
        assert found is not None
        return found

    def submit(self, name: str, command: str) -> None:
        new = NewTask(id=name, service="kohya_job", kind="command", data=command.encode())
        self._store.run(tasks.put(new))

    def task(self, name: str) -> Task:
        return self._store.run(tasks.get(name))

    def log(self, name: str) -> list[str]:
        return [text for _, text in self._store.run(tasks.log(name, limit=10 * LINES))]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        assert wait_until(condition, 4 * PATIENCE, every=0.1), (what, self._boxes.log("hub")[-2000:])

    def close(self) -> None:
        self._store.close()


def test_links_are_cut_within_the_lease_and_beyond_it(boxes: Boxes) -> None:
    """Given a task on each of two boxes, when both lose the network, each task ends once and its log is whole."""
    watch = Watch(boxes)
    try:
        _cut_both(boxes, watch)
        watch.until(lambda: watch.instance_of(2) is not None, "the box that was away longest is back")
        assert boxes.stop_worker(1) == 0, boxes.log("box-1")
        watch.until(lambda: watch.instance_of(1) is None, "it leaves cleanly")
    finally:
        watch.close()


def _cut_both(boxes: Boxes, watch: Watch) -> None:
    first, second = watch.on(1), watch.on(2)
    assert {first.launcher, second.launcher} == {"manual"}, "capacity that the supervisor does not own"
    count = f"for i in $(seq {LINES}); do echo line $i; sleep {EVERY}; done"
    for name in ("one", "two"):
        watch.submit(name, count)
    watch.until(lambda: all(len(watch.log(n)) > 5 for n in ("one", "two")), "both run")
    names = {watch.task(name).instance: name for name in ("one", "two")}
    stays, moves = names[first.id], names[second.id]
    boxes.hosts.cut(1)
    boxes.hosts.cut(2)
    began = time.monotonic()
    assert not wait_until(lambda: watch.task(stays).final, SHORT_CUT), "it goes on without the network"
    boxes.hosts.mend(1)
    watch.until(
        lambda: watch.task(moves).instance != second.id, "the task of a box that is away is given back"
    )
    wait_until(lambda: False, LONG_CUT - (time.monotonic() - began))
    boxes.hosts.mend(2)
    watch.until(lambda: watch.task(stays).final and watch.task(moves).final, "both have ended")
    _ended_once(watch, stays, attempts=1)
    _ended_once(watch, moves, attempts=2)
    assert "lease" in watch.task(moves).attempts[0].reason


def _ended_once(watch: Watch, name: str, *, attempts: int) -> None:
    task = watch.task(name)
    assert task.state is TaskState.SUCCEEDED, task
    assert len(task.attempts) == attempts, task.attempts
    lines = [line for line in watch.log(name) if line.startswith("line ")]
    whole = [f"line {n}" for n in range(1, LINES + 1)]
    assert lines[-LINES:] == whole, "the run that ended said each line once, in order"
    earlier = lines[:-LINES]
    assert earlier == whole[: len(earlier)], "and nothing of another is between"
