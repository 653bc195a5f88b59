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
from backend.store import outputs
from backend.task import Task, TaskState
from tests.support import namespaces
from tests.support.box import ENVIRONMENT, PATIENCE, ROOT, free_port
from tests.support.pool_box import PoolBox

pytestmark = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not())

LONG = bool(os.environ.get("LORAPOOL_LONG"))
LEASE, SHORT_CUT, LONG_CUT, LINES = (60.0, 30.0, 90.0, 400) if LONG else (6.0, 2.0, 9.0, 50)
TOKEN = "the-administrator-s-token"
"""Of a deployment that only this test sees."""
EVERY = 0.2

_LIGHT = (
    "import backend.pool.templates as t; t.TRAINING = ('backend.worker.guard',); "
    "from backend.cli import main; main()"
)
"""`lorapool` with a template that is ready in a moment: there are no trainings here."""


class Boxes:
    """A gateway on the hub; a worker on each of two boxes, by the gateway's port alone; store and supervisor beside."""

    def __init__(self, folder: Path) -> None:
        self.hosts = namespaces.Hosts(2)
        self.pool = PoolBox(folder / "data", LORAPOOL_LEASE_SECONDS=str(LEASE))
        self.world = self.pool.world(autoscaler={"min": 0, "max": 3})
        self.port = free_port()
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the gateway, both workers, and a supervisor once they are there."""
        address = {"LORAPOOL_HOST": "0.0.0.0", "LORAPOOL_PORT": str(self.port)}
        self._spawn(self.hosts.hub, "hub", "gateway", REDIS_URL=self.pool.server.url, **address)
        probe = f"import socket; socket.create_connection(('127.0.0.1', {self.port}), 1)"
        ask = [*self.hosts.hub, sys.executable, "-c", probe]
        assert wait_until(
            lambda: not subprocess.run(ask, capture_output=True).returncode, PATIENCE, every=0.5
        )
        for number in (1, 2):
            endpoint = f"http://{self.hosts.hub_address(number)}:{self.port}"
            words = ("worker", "--endpoint", endpoint, "--service", self.world.service)
            self._spawn(self.hosts.host(number), f"box-{number}", *words)
        self.pool.supervisor()

    def _spawn(self, prefix: list[str], name: str, *command: str, **more: str) -> None:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("LORAPOOL_", "REDIS_URL"))}
        given = {
            "LORAPOOL_LEASE_SECONDS": str(LEASE),
            "LORAPOOL_TOKEN": TOKEN,
            "LORAPOOL_STOP_GRACE": "1",
            "LORAPOOL_DATA_DIR": str(self.pool.data_dir),
        }
        with (self._folder / f"{name}.out").open("wb") as out:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-c", _LIGHT, *command],
                cwd=ROOT,
                env={**plain, **ENVIRONMENT, **given, **more},
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
        try:
            for process in reversed(self._processes):
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    process.wait(PATIENCE)
            self.pool.close()
        finally:
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
        self._world = boxes.world

    def instance_of(self, number: int) -> Instance | None:
        """The instance on a box, when it is up."""
        found = read_instances(self._world.store)
        return next((i for i in found if i.host == f"box-{number}" and i.ready_at), None)

    def on(self, number: int) -> Instance:
        self.until(lambda: self.instance_of(number) is not None, f"box {number} has joined")
        found = self.instance_of(number)
        assert found is not None
        return found

    def submit(self, command: str) -> str:
        return self._world.submit(command)

    def task(self, name: str) -> Task:
        return self._world.read(name)

    def log(self, name: str) -> list[str]:
        return [text for _, text in self._world.store.run(outputs.log(name, limit=10 * LINES))]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something to become true; fail naming it."""
        said = [self._boxes.log(name) for name in ("box-1", "box-2")]
        assert wait_until(condition, LONG_CUT + PATIENCE, every=0.1), (what, self._boxes.pool.log, said)


def test_links_are_cut_within_the_lease_and_beyond_it(boxes: Boxes) -> None:
    """Given a task on each of two boxes, when both lose the network, each task ends once and its log is whole."""
    watch = Watch(boxes)
    _cut_both(boxes, watch)
    watch.until(lambda: watch.instance_of(2) is not None, "the box that was away longest is back")
    assert boxes.stop_worker(1) == 0, boxes.log("box-1")
    watch.until(lambda: watch.instance_of(1) is None, "it leaves cleanly")


def _cut_both(boxes: Boxes, watch: Watch) -> None:
    first, second = watch.on(1), watch.on(2)
    assert {first.launcher, second.launcher} == {"manual"}, "capacity that the supervisor does not own"
    count = f"for i in $(seq {LINES}); do echo line $i; sleep {EVERY}; done"
    both = [watch.submit(count) for _ in range(2)]
    watch.until(lambda: all(len(watch.log(name)) > 5 for name in both), "both run")
    names = {watch.task(name).instance: name for name in both}
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
