"""An update under load, with real instances: nothing is interrupted, and in the end all run the new description."""

from __future__ import annotations

from backend.processes import wait_until
from backend.service import Description
from backend.store import services, tasks
from backend.task import TaskState
from tests.support.pool_box import PATIENCE, PoolWorld

TASKS = 40


def description(world: PoolWorld) -> Description:
    return world.store.run(services.get(world.service)).description


def up(world: PoolWorld) -> set[str]:
    """The versions of the service's instances that are ready."""
    return {found.version for name in world.here() if (found := world.find(name)).ready_at}


def test_forty_tasks_are_done_while_the_description_changes_under_them(world: PoolWorld) -> None:
    # given two instances that work on forty tasks
    scaling = {"min": 2, "max": 2}
    world.describe(containers=[{"image": "kohya:1"}], autoscaler=scaling)
    before = description(world).version
    all_tasks = [world.submit("sleep 0.02; echo done", user=f"user{n % 3}") for n in range(TASKS)]
    assert wait_until(lambda: world.state(all_tasks[TASKS // 4]).final, PATIENCE), world.box.log
    old = set(world.here())
    assert up(world) == {before}
    # when the description is changed in the middle
    world.describe(containers=[{"image": "kohya:2"}], autoscaler=scaling)
    after = description(world).version
    assert after != before
    # then every task is done at its first attempt, by one instance or the other
    found = [world.result(task) for task in all_tasks]
    assert {task.state for task in found} == {TaskState.SUCCEEDED}
    assert {len(task.attempts) for task in found} == {1}
    assert {world.find(task.instance).version for task in found} == {before, after}
    # and those that are here now all run the new description
    assert wait_until(lambda: up(world) == {after} and len(world.here()) == 2, PATIENCE), world.box.log
    assert not old & set(world.here())


def test_what_concerns_no_instance_replaces_none(world: PoolWorld) -> None:
    world.describe(autoscaler={"min": 1, "max": 1})
    first = world.result(world.submit("true")).instance
    world.describe(autoscaler={"min": 1, "max": 2}, queue={"max_delivery": 9}, token="another")
    assert world.result(world.submit("true")).instance == first
    assert world.here() == [first]


def test_an_update_that_does_not_come_up_leaves_an_instance_at_work_and_says_why(world: PoolWorld) -> None:
    # given an instance that works
    scaling = {"min": 2, "max": 2}
    world.describe(autoscaler=scaling)
    assert wait_until(lambda: len(up(world)) == 1 and len(world.here()) == 2, PATIENCE), world.box.log
    kept = set(world.here())
    # when it is updated to an app that ends at once
    app = {"command": "echo the model is missing; exit 1", "port": 18999}
    world.describe(containers=[app], autoscaler=scaling)
    assert wait_until(lambda: bool(world.store.run(services.get(world.service)).trouble), PATIENCE)
    # then one of the old ones goes on, and takes tasks
    assert kept & set(world.here())
    assert world.result(world.submit("true")).state is TaskState.SUCCEEDED
    # and the update that mends it is taken up
    world.describe(containers=[{"image": "works"}], autoscaler=scaling)
    good = description(world).version
    assert wait_until(lambda: up(world) == {good}, PATIENCE), world.box.log
    assert wait_until(lambda: not world.store.run(services.get(world.service)).trouble, PATIENCE)
    assert world.store.run(tasks.waiting(world.service)) == []


def test_a_worker_started_by_hand_follows_the_update(world: PoolWorld) -> None:
    worker = world.box.worker(world.service)
    first = world.one_here()
    world.describe(containers=[{"image": "kohya:2"}], autoscaler={"min": 0, "max": 1})
    after = description(world).version
    assert wait_until(lambda: up(world) == {after}, PATIENCE), world.box.log
    assert first not in world.here()
    # when it is told to end, it does
    assert world.box.stop(worker) == 0
    assert wait_until(lambda: not world.here(), PATIENCE)
