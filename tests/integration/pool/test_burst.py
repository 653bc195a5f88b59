"""A pool that goes from nothing to a burst and back, and who gets its turn; real processes, generous deadlines."""

from __future__ import annotations

from pathlib import Path

from backend.processes import wait_until
from backend.store import measures, tasks
from backend.task import Task, TaskState
from tests.support.pool_box import PATIENCE, PoolWorld

GRACE = 1.0
BURST = {
    "min": 0,
    "max": 4,
    "strategies": {"avg_waiting_length": 1},
    "behavior": {
        "scaleDown": {"stabilizationWindowSeconds": 0},
        "onZero": {"scaleDownGracePeriodSeconds": GRACE},
    },
}


def attempt(task: Task) -> tuple[float, float]:
    """When the only attempt of a task ran."""
    (only,) = task.attempts
    assert only.ended_at is not None
    return only.started_at, only.ended_at


def test_a_burst_from_zero_fills_the_pool_and_leaves_it_empty_after_the_grace(world: PoolWorld) -> None:
    # given a service without instances, when eight tasks are put at once
    world.describe(autoscaler=BURST)
    assert world.here() == []
    put = [world.submit("sleep 1") for _ in range(8)]
    # then four instances work at the same time, and never more
    done = [world.result(task) for task in put]
    assert {task.state for task in done} == {TaskState.SUCCEEDED}
    runs = [attempt(task) for task in done]
    at_once = [sum(start <= at < end for start, end in runs) for at, _ in runs]
    assert max(at_once) == 4
    used = {task.instance for task in done}
    assert len(used) == 4
    # and when the grace is over, none is left
    assert wait_until(lambda: world.here() == [], PATIENCE), world.box.log
    last = max(end for _, end in runs)
    ended = [float(world.ask("HGET", f"lorapool:instance:{name}", "ended_at")) for name in used]
    assert max(ended) - last >= GRACE


def test_an_instance_for_commands_carries_no_torch(world: PoolWorld) -> None:
    task = world.submit("echo up; sleep 600")
    instance = world.running_task(task).instance
    libraries = Path(f"/proc/{world.pid(instance)}/maps").read_text()
    world.store.run(tasks.cancel(task))
    assert "libtorch" not in libraries
    assert "python" in libraries


def test_what_it_did_is_measured(world: PoolWorld) -> None:
    # given two runs of one user, and one of another that failed
    for user, line in (("ana", "sleep 0.5"), ("ana", "sleep 0.5"), ("ben", "false")):
        world.result(world.submit(line, user=user))
    # then a second later the supervisor has said how fast it was, and the rest was counted at once
    answers = [world.store.run(call) for call in measures.read(world.service)]
    found = measures.assemble(answers)
    assert found.attempts == {"succeeded": 2, "failed": 1}
    assert {name: found.histograms[name].count for name in ("wait", "claim", "boot")} == {
        "wait": 3,
        "claim": 3,
        "boot": 1,
    }
    assert found.spent["run", "ana"] >= 1.0
    assert 0.0 < found.spent["run", "ben"] < found.spent["run", "ana"]
    # the boot was for her, what came between his task and hers is hers
    assert found.spent["boot", "ana"] > 0.0
    assert ("boot", "ben") not in found.spent
    assert found.spent["idle", "ana"] > 0.0

    def said() -> bool:
        read = measures.assemble([world.store.run(call) for call in measures.read(world.service)])
        return {"reaction", "pass"} <= read.histograms.keys()

    assert wait_until(said, PATIENCE)


def test_one_task_of_another_user_waits_for_one_running_task_at_the_most(world: PoolWorld) -> None:
    # given one instance and a user with fifty tasks in the queue
    many = [world.submit("sleep 0.05", user="many") for _ in range(50)]
    assert wait_until(lambda: any(world.state(t) is TaskState.RUNNING for t in many), PATIENCE)
    # when another user puts one
    one = world.submit("echo mine", user="one")
    put_at = world.task(one).created_at
    started = attempt(world.result(one))[0]
    # then at most the one that ran, and one that had been handed out by then, come before it
    done = [world.result(task) for task in many]
    between = [task for task in done if put_at < attempt(task)[0] < started]
    assert len(between) <= 1, [attempt(task) for task in between]
    # and nobody is forgotten
    assert {task.state for task in done} == {TaskState.SUCCEEDED}
