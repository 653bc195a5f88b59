"""Supervisors and instances as real processes: one task after another, stops, deaths, drains, leaders, shutdowns."""

from __future__ import annotations

import os
import signal

import psutil

from backend.instance import InstanceState
from backend.processes import wait_until
from backend.store import instances, services, streams, tasks
from backend.store.keys import instance_queue, key
from backend.task import TaskState
from tests.support.pool_box import PATIENCE, PoolBox, PoolWorld

LONG = "echo up; sleep 600"

DIES_BEFORE_A_START = """
import os
from backend.pool.local import LocalLauncher
begin = LocalLauncher.start
LocalLauncher.start = lambda self, order: os.kill(os.getpid(), 9) if order.service == "{}" else begin(self, order)
"""
SOON_LOST = "import backend.pool.lost_starts as lost_starts; lost_starts.JUST_NOW = 0.5\n"
"""Code that a supervisor's process runs before."""


class TestWork:
    def test_tasks_run_one_after_another_on_a_warm_instance(self, world: PoolWorld) -> None:
        first, second = world.submit("echo one"), world.submit("echo two >&2; exit 3")
        assert world.result(first).state is TaskState.SUCCEEDED
        failed = world.result(second)
        assert (failed.state, failed.exit_code, failed.reason) == (TaskState.FAILED, 3, "two")
        assert (world.log(first), world.log(second)) == (["one"], ["two"])
        assert failed.instance == world.task(first).instance
        text = world.box.data_dir / "jobs" / first / "log.txt"
        assert text.read_text() == "one\n"

    def test_lines_and_the_end_are_in_the_output_queue(self, world: PoolWorld) -> None:
        task = world.submit("echo one; echo two")
        world.result(task)
        items = world.store.run(streams.get(world.sink, {}, length=10))
        assert b"".join(item.data for item in items) == b"one\ntwo\n"
        assert items[-1].tags["job.status"] == "Succeeded"
        assert {item.tags["requestId"] for item in items} == {task}

    def test_a_program_gets_no_secret_of_the_deployment(self, world: PoolWorld) -> None:
        task = world.submit("env; cat /proc/self/cmdline", environment={"MINE": "yes"})
        assert world.result(task).state is TaskState.SUCCEEDED
        text = "\n".join(world.log(task))
        assert "MINE=yes" in text
        assert f"LORAPOOL_TASK_ID={task}" in text
        password = (world.box.server.folder / "password").read_text()
        for secret in (password, "the-administrator-s-token", "LORAPOOL_TOKEN", "REDIS_URL"):
            assert secret not in text

    def test_no_secret_stands_in_an_argument_list(self, world: PoolWorld) -> None:
        world.running_task(world.submit(LONG))
        password = (world.box.server.folder / "password").read_text()
        for line in world.box.present().values():
            assert password not in line
            assert "the-administrator-s-token" not in line

    def test_cancelled_means_that_its_processes_are_gone(self, world: PoolWorld) -> None:
        task = world.submit("echo up; sleep 600 & sleep 600 & wait")
        running = world.running_task(task)
        group = world.find(running.instance).run_group
        world.store.run(tasks.cancel(task))
        assert world.result(task).state is TaskState.CANCELLED
        left = [p for p in psutil.process_iter() if group_of(p) == group]
        assert not [p for p in left if p.status() != psutil.STATUS_ZOMBIE]
        # and the instance takes the next one
        assert world.result(world.submit("true")).instance == running.instance

    def test_a_task_that_rq_has_forgotten_while_it_waited_runs(self, world: PoolWorld) -> None:
        blocking = world.submit(LONG)
        world.running_task(blocking)
        waiting = world.submit("echo ran")
        world.ask("DEL", key("rq_job", waiting))
        world.store.run(tasks.cancel(blocking))
        assert world.result(waiting).state is TaskState.SUCCEEDED
        assert world.log(waiting) == ["ran"]

    def test_a_run_that_nobody_is_at_goes_back(self, world: PoolWorld) -> None:
        # given a task whose claim took effect though the instance never heard of it
        world.result(world.submit("true"))
        instance = world.one_here()
        os.kill(world.pid(instance), signal.SIGSTOP)
        try:
            task = world.submit("echo ran")
            assert wait_until(lambda: world.state(task) is TaskState.ASSIGNED, PATIENCE)
            world.ask("DEL", key("rq_queue", instance_queue(instance)))
            world.ask("DEL", key("rq_queue", instance_queue(instance)) + ":intermediate")
            world.claimed(instance, task)
        finally:
            os.kill(world.pid(instance), signal.SIGCONT)
        # then it notices and hands it back
        found = world.result(task)
        assert found.state is TaskState.SUCCEEDED
        assert [attempt.outcome for attempt in found.attempts] == ["returned", "succeeded"]

    def test_a_command_that_is_too_long_fails_with_its_reason(self, world: PoolWorld) -> None:
        found = world.result(world.submit("true", environment={"A": "x" * (2 << 20)}))
        assert found.state is TaskState.FAILED
        assert "over the limit" in found.reason

    def test_a_job_folder_that_cannot_be_made_is_a_reason_too(self, world: PoolWorld) -> None:
        task = "no-folder-" + world.service
        (world.box.data_dir / "jobs" / task).write_text("a file in its place")
        found = world.result(world.submit("true", task=task))
        assert found.state is TaskState.FAILED
        assert "File exists" in found.reason or "Not a directory" in found.reason


def group_of(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except OSError:
        return 0


class TestBackPressure:
    def test_a_full_output_queue_slows_the_writer_and_loses_nothing(self, world: PoolWorld) -> None:
        world.describe(autoscaler={"min": 0, "max": 1}, queue={"sink": {"capacity": 2}})
        world.ask("HSET", key("queue", world.sink), "capacity", 2)
        task = world.submit("for n in $(seq 1 3000); do echo line $n; done")
        assert wait_until(lambda: world.store.run(streams.count(world.sink, {})) == 2, PATIENCE)
        text = b""
        while not world.state(task).final:
            for item in world.store.run(streams.get(world.sink, {}, take=True)):
                text += item.data if "job.status" not in item.tags else b""
        for item in world.store.run(streams.get(world.sink, {}, length=10)):
            text += item.data if "job.status" not in item.tags else b""
        assert text.decode().splitlines() == [f"line {n}" for n in range(1, 3001)]
        assert world.state(task) is TaskState.SUCCEEDED

    def test_a_task_is_cancelled_though_nobody_reads_its_output(self, world: PoolWorld) -> None:
        world.describe(autoscaler={"min": 0, "max": 1}, queue={"sink": {"capacity": 1}})
        world.ask("HSET", key("queue", world.sink), "capacity", 1)
        task = world.submit("while :; do echo more; sleep 0.05; done")
        assert wait_until(lambda: world.store.run(streams.count(world.sink, {})) == 1, PATIENCE)
        world.store.run(tasks.cancel(task))
        assert world.result(task).state is TaskState.CANCELLED
        assert any("output queue is full" in line for line in world.log(task))


class TestDeaths:
    def test_a_killed_instance_s_task_runs_again_elsewhere(self, world: PoolWorld) -> None:
        task = world.submit("echo up; sleep 1; echo over")
        running = world.running_task(task)
        os.kill(world.pid(running.instance), signal.SIGKILL)
        found = world.result(task)
        assert found.state is TaskState.SUCCEEDED
        assert [attempt.outcome for attempt in found.attempts] == ["returned", "succeeded"]
        assert found.instance != running.instance
        assert world.log(task)[-2:] == ["up", "over"]

    def test_what_runs_goes_on_under_the_next_supervisor(self, own: PoolBox) -> None:
        world, other = own.world(), own.world()
        first = own.supervisor(DIES_BEFORE_A_START.format(other.service))
        gate = own.data_dir / "gate"
        task = world.submit(f"echo up; while [ ! -e {gate} ]; do sleep 0.1; done; echo over")
        instance = world.running_task(task).instance
        # given a supervisor that is killed after it has noted another instance and before it has forked it
        wanted = other.submit("true")
        assert first.wait(PATIENCE) == -signal.SIGKILL
        (never_begun,) = other.here()
        own.supervisor(SOON_LOST, LORAPOOL_START_DEADLINE="3600")
        # the next one takes over at once, and does not start what is there already
        assert wait_until(lambda: f"instance {instance} of {world.service} goes on" in own.log, PATIENCE)
        gate.touch()
        found = world.result(task)
        assert (found.state, len(found.attempts)) == (TaskState.SUCCEEDED, 1)
        assert world.result(world.submit("true")).instance == instance
        # what was never begun holds nobody up, whatever time a start may take
        assert other.result(wanted).state is TaskState.SUCCEEDED
        assert other.find(never_begun).state is InstanceState.GONE
        assert "never begun" in other.find(never_begun).reason
        # and it notices the end of the one that it has adopted
        os.kill(world.pid(instance), signal.SIGKILL)
        assert wait_until(lambda: world.find(instance).state is InstanceState.GONE, PATIENCE)


class TestDrain:
    def test_a_busy_instance_that_is_not_needed_ends_its_work_first(self, world: PoolWorld) -> None:
        gate = world.box.data_dir / f"gate-{world.service}"
        task = world.submit(f"echo up; while [ ! -e {gate} ]; do sleep 0.1; done; echo over")
        instance = world.running_task(task).instance
        world.describe(autoscaler={"min": 0, "max": 0})
        assert wait_until(lambda: world.find(instance).state is InstanceState.DRAINING, PATIENCE)
        gate.touch()
        found = world.result(task)
        assert (found.state, len(found.attempts)) == (TaskState.SUCCEEDED, 1)
        assert wait_until(lambda: world.find(instance).state is InstanceState.GONE, PATIENCE)
        assert world.find(instance).reason == "drained"

        # nothing of it stays in RQ's books for ever: a last heartbeat that crossed its end dies by itself
        def left() -> list[str]:
            return [name for name in world.keys(f"rq:*{instance}*") if world.ask("TTL", name) == -1]

        assert wait_until(lambda: left() == [], PATIENCE), left()

    def test_removing_a_service_ends_what_it_runs(self, shared: PoolBox) -> None:
        world = shared.world()
        task = world.submit(LONG)
        instance = world.running_task(task).instance
        waiting = world.submit("echo never")
        world.store.run_all(services.forget(world.service))
        assert world.result(task).state is TaskState.CANCELLED
        assert world.task(waiting).state is TaskState.CANCELLED
        assert wait_until(lambda: world.find(instance).state is InstanceState.GONE, PATIENCE)

    def test_one_service_that_cannot_be_read_holds_no_other_up(self, world: PoolWorld) -> None:
        broken = world.box.world()
        description = world.ask("HGET", key("service", broken.service), "description")
        world.ask("HSET", key("service", broken.service), "description", '{"metadata": {"name": "x"}}')
        try:
            assert world.result(world.submit("true")).state is TaskState.SUCCEEDED
            assert f"service {broken.service} is not served at present" in world.box.log
        finally:
            world.ask("HSET", key("service", broken.service), "description", description.decode())
        assert broken.result(broken.submit("true")).state is TaskState.SUCCEEDED


class TestLeaders:
    def test_one_of_two_leads_and_the_other_takes_over(self, own: PoolBox) -> None:
        world = own.world()
        first = own.supervisor()
        task = world.submit(LONG)
        instance = world.running_task(task).instance
        second = own.supervisor()
        # given a second one that stops again: what the first one has is not its business
        standby_is_up(own, second)
        own.stop(second)
        assert world.state(task) is TaskState.RUNNING
        assert world.find(instance).state is InstanceState.BUSY
        # and the first one's templates still serve
        world.store.run(tasks.cancel(task))
        assert world.result(world.submit("echo served")).state is TaskState.SUCCEEDED
        # when the leader dies, a standby leads within a moment and can start instances itself
        standby_is_up(own, own.supervisor())
        own.stop(first, signal.SIGKILL)
        assert wait_until(lambda: own.log.count("this supervisor leads") == 2, PATIENCE)
        os.kill(world.pid(instance), signal.SIGKILL)
        found = world.result(world.submit("echo served"))
        assert found.state is TaskState.SUCCEEDED
        assert found.instance != instance


def standby_is_up(box: PoolBox, process: object) -> None:
    """Wait until a supervisor that does not lead listens to events, as the last thing before its loop."""
    count = len([each for each in box.processes if each.poll() is None])
    world = box.world()

    def listeners() -> int:
        answer = world.ask("PUBSUB", "NUMSUB", key("events"))
        return int(answer[key("events").encode()] if isinstance(answer, dict) else answer[-1])

    assert wait_until(lambda: listeners() >= count, PATIENCE), box.log


class TestShutdown:
    def test_what_runs_is_handed_back_and_runs_again_later(self, own: PoolBox) -> None:
        first = own.supervisor()
        world = own.world()
        flag = own.data_dir / "second-time"
        task = world.submit(f"echo up; [ -e {flag} ] || sleep 600; echo over")
        world.running_task(task)
        assert own.stop(first) == 0
        found = world.task(task)
        assert (found.state, found.deliveries) == (TaskState.WAITING, 0)
        assert found.reason == "its instance had to leave"
        assert wait_until(lambda: not own.present(), PATIENCE), own.present()
        assert world.here() == []
        assert world.store.run(instances.leader()) is None
        flag.touch()
        own.supervisor()
        found = world.result(task)
        assert (found.state, [a.outcome for a in found.attempts]) == (
            TaskState.SUCCEEDED,
            ["returned", "succeeded"],
        )

    def test_an_instance_that_is_still_starting_holds_nobody_up(self, own: PoolBox) -> None:
        first = own.supervisor()
        world = own.world()
        world.submit("true")
        assert wait_until(lambda: bool(world.here()), PATIENCE, every=0.001)
        assert own.stop(first) == 0
        assert world.here() == []

    def test_said_twice_nothing_is_waited_for(self, own: PoolBox) -> None:
        # given a run that takes all the time that it is given
        first = own.supervisor(LORAPOOL_STOP_GRACE="600")
        world = own.world()
        task = world.submit("trap 'echo asked' TERM; echo up; while :; do sleep 0.1; done")
        world.running_task(task)
        first.send_signal(signal.SIGTERM)
        world.running_task(task, "asked")
        assert first.poll() is None
        # when it is said again
        assert own.stop(first) == 0
        found = world.task(task)
        assert (found.state, found.deliveries) == (TaskState.WAITING, 0)
        assert wait_until(lambda: not own.present(), PATIENCE), own.present()

    def test_a_pool_without_its_store_leaves_nothing_behind(self, own: PoolBox) -> None:
        first = own.supervisor()
        world = own.world()
        world.running_task(world.submit(LONG))
        own.server.stop()
        own.stop(first)
        assert wait_until(lambda: not own.present(), PATIENCE), own.present()
        own.server.start()


class TestByHand:
    def test_it_is_given_tasks_and_ends_when_told(self, own: PoolBox) -> None:
        own.supervisor()
        world = own.world()
        worker = own.worker(world.service)
        instance = world.one_here()
        assert world.find(instance).launcher == "manual"
        # when there is work, no other instance is started for it
        assert world.result(world.submit("echo by hand")).instance == instance
        assert world.here() == [instance]
        # when it is told to leave, it hands back what it runs
        task = world.submit(LONG)
        world.running_task(task)
        assert own.stop(worker) == 0
        assert world.task(task).attempts[0].outcome == "returned"
        assert world.find(instance).state is InstanceState.GONE
        assert wait_until(lambda: world.task(task).attempt == 2, PATIENCE), "the supervisor starts another"
        assert world.task(task).instance != instance

    def test_the_supervisor_drains_it_and_never_kills_it(self, own: PoolBox) -> None:
        first = own.supervisor()
        world = own.world()
        worker = own.worker(world.service)
        instance = world.one_here()
        # a supervisor that leaves lets it be
        own.stop(first)
        assert world.find(instance).state is InstanceState.IDLE
        own.supervisor()
        assert world.result(world.submit("true")).instance == instance
        # one that leads drains it when the service is not to have any instance
        world.describe(autoscaler={"min": 0, "max": 0})
        assert worker.wait(PATIENCE) == 0
        assert world.find(instance).reason == "drained"

    def test_nothing_of_it_outlives_it(self, own: PoolBox) -> None:
        own.supervisor()
        world = own.world()
        worker = own.worker(world.service)
        instance = world.one_here()
        task = world.submit("echo up; sleep 1; echo over")
        world.running_task(task)
        pid = world.pid(instance)
        own.stop(worker, signal.SIGKILL)
        found = world.result(task)
        assert (found.state, found.attempts[0].outcome) == (TaskState.SUCCEEDED, "returned")
        assert found.instance != instance
        assert wait_until(lambda: pid not in own.present(), PATIENCE)

    def test_a_service_that_is_not_there_is_one_clear_error(self, own: PoolBox) -> None:
        assert own.worker("nobody").wait(PATIENCE) != 0
        assert "there is no service 'nobody'" in own.log
