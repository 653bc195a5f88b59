"""Scale-ins while tasks run, and an instance that stood still: every task starts once and ends once.

`LORAPOOL_LONG=1` makes it thirty scale-ins during sixty tasks.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from backend.instance import InstanceState
from backend.processes import wait_until
from backend.store import instances, streams
from backend.task import TaskState
from tests.support.pool_box import PATIENCE, PoolBox, PoolWorld

LONG = bool(os.environ.get("LORAPOOL_LONG"))
SCALE_INS, TASKS, RUN = (30, 60, 2.0) if LONG else (8, 24, 0.7)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolBox]:
    box = PoolBox(tmp_path_factory.mktemp("pool") / "data")
    box.supervisor()
    try:
        yield box
    finally:
        box.close()


def test_no_scale_in_stops_or_repeats_a_task(pool: PoolBox) -> None:
    # given tasks on four instances
    world = pool.world(autoscaler={"min": 0, "max": 4})
    book = pool.data_dir / "started.txt"
    line = f"echo $LORAPOOL_TASK_ID >> {book}; sleep {RUN}; echo over"
    put = [world.submit(line) for _ in range(TASKS)]
    # when the pool is made small again and again, each time while at least one instance works
    seen: set[str] = set()
    for _ in range(SCALE_INS):
        busy_again(world, put, line)
        world.describe(autoscaler={"min": 0, "max": 1})
        before = len(seen)
        assert wait_until(lambda: len(drained(world)) > before, PATIENCE), pool.log  # noqa: B023
        seen = drained(world)
        world.describe(autoscaler={"min": 0, "max": 4})
    # then every task has started once and ended once
    done = [world.result(task) for task in put]
    assert {task.state for task in done} == {TaskState.SUCCEEDED}
    assert {len(task.attempts) for task in done} == {1}
    assert Counter(book.read_text().split()) == Counter(put)
    ends = [item.tags["requestId"] for item in items(world) if "job.status" in item.tags]
    assert Counter(ends) == Counter(put)
    print(f"{SCALE_INS} scale-ins, {len(seen)} instances drained, {len(put)} tasks")
    assert len(seen) >= SCALE_INS


def busy_again(world: PoolWorld, put: list[str], line: str) -> None:
    """Wait until two instances work; should the tasks have run out, put a few more."""

    def ready() -> bool:
        busy = [name for name in world.here() if world.find(name).state is InstanceState.BUSY]
        return len(busy) >= 2

    if not wait_until(ready, 5.0):
        put += [world.submit(line) for _ in range(4)]
        assert wait_until(ready, PATIENCE), world.box.log


def drained(world: PoolWorld) -> set[str]:
    """Every instance that drains, or has left because it did."""
    names = [*world.here(), *world.store.run(instances.past(1000))]
    found = [world.find(name) for name in names]
    return {i.id for i in found if i.service == world.service and i.draining_since is not None}


def items(world: PoolWorld) -> list[streams.Item]:
    return world.store.run(streams.get(world.sink, {}, length=10_000))


def test_what_stood_still_past_its_lease_and_moves_again_changes_nothing(pool: PoolBox) -> None:
    # given a task on an instance that the supervisor cannot reach, as on another machine
    world = pool.world(autoscaler={"min": 0, "max": 2})
    worker = pool.worker(world.service)
    instance = world.one_here()
    again = pool.data_dir / "again"
    task = world.submit(f"echo up; [ -e {again} ] || sleep 3; echo over")
    running = world.running_task(task)
    assert running.instance == instance
    frozen = [world.pid(instance), *group(world.find(instance).run_group)]
    # when that machine stands still for longer than the lease, and another instance finishes the task
    again.touch()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        found = world.result(task)
        said = (world.log(task), items(world))
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert (found.state, [a.outcome for a in found.attempts]) == (
        TaskState.SUCCEEDED,
        ["returned", "succeeded"],
    )
    assert found.instance != instance
    # then its waking up changes nothing: not the task, not its log, not the output queue
    assert worker.wait(PATIENCE) != 0
    assert wait_until(lambda: not any(map(psutil.pid_exists, frozen)), PATIENCE)
    assert world.task(task) == found
    assert (world.log(task), items(world)) == said


def group(number: int) -> list[int]:
    """The processes of a group."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == number:
                found.append(pid)
        except OSError:
            continue
    return found
