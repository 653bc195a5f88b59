"""The scripts about tasks, on a real server: put, assign, claim, append, finish, give back, cancel, expire."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from backend import records
from backend.errors import Conflict, InvalidArgument, NotFound, QueueFull, StaleAttempt
from backend.instance import InstanceState
from backend.records import Failed, FileWritten, Phase, Progress, Result
from backend.store import instances, outputs, services, streams, tasks
from backend.store.keys import instance_queue, key
from backend.store.outputs import Holder
from backend.store.tasks import NewTask
from backend.task import TaskState
from tests.support.store_world import World


class TestPut:
    def test_a_task_waits_as_it_was_put(self, world: World) -> None:
        new = NewTask(
            id="whole-1",
            service=world.service,
            kind="command",
            data=b"\x00\xff bytes",
            argv=("echo", "ä ◯"),
            environment={"A": "b"},
            tags={"taskType": "command"},
            priority=3,
            user="ana",
            name="first",
            details={"steps": 60, "models": ["m"]},
        )
        put = world.store.run(tasks.put(new))
        assert (put.index, put.id, put.created) == (1, "whole-1", True)
        task = world.task("whole-1")
        assert (task.state, task.index, task.request_id, task.attempt) == (TaskState.WAITING, 1, "whole-1", 0)
        assert (task.data, task.argv, task.environment) == (b"\x00\xff bytes", ("echo", "ä ◯"), {"A": "b"})
        assert (task.tags, task.priority, task.user, task.name) == (
            {"taskType": "command"},
            3,
            "ana",
            "first",
        )
        assert task.details == {"steps": 60, "models": ["m"]}
        assert world.waiting() == ["whole-1"]
        assert world.store.run(tasks.by_index(world.service, 1)) == "whole-1"

    def test_repeating_a_put_stores_nothing_and_answers_the_same(self, world: World) -> None:
        new = NewTask(id="rep-1", service=world.service, kind="command", request_id="r")
        again = NewTask(id="rep-2", service=world.service, kind="command", request_id="r")
        first, second = world.store.run(tasks.put(new)), world.store.run(tasks.put(again))
        assert (second.index, second.id, second.created) == (first.index, "rep-1", False)
        assert world.waiting() == ["rep-1"]
        with pytest.raises(NotFound):
            world.task("rep-2")

    def test_a_repeated_put_is_known_after_the_task_has_ended(self, world: World) -> None:
        task = world.put()
        world.store.run(tasks.cancel(task))
        put = world.store.run(tasks.put(NewTask(id=task, service=world.service, kind="command")))
        assert not put.created
        assert world.waiting() == []

    def test_an_id_that_another_service_has_is_taken(self, world: World, server: object) -> None:
        other = World(world.store.url)
        task = other.put()
        with pytest.raises(Conflict, match="taken"):
            world.put(task)
        assert world.waiting() == []
        other.close()

    def test_a_full_queue_takes_no_more(self, world: World) -> None:
        for _ in range(2):
            world.put()
        with pytest.raises(QueueFull, match="2 tasks wait"):
            world.store.run(tasks.put(NewTask(id="over", service=world.service, kind="command"), capacity=2))
        assert len(world.waiting()) == 2
        with pytest.raises(NotFound):
            world.task("over")

    def test_a_service_that_is_not_there(self, world: World) -> None:
        with pytest.raises(NotFound):
            world.store.run(tasks.put(NewTask(id="x", service="nobody", kind="command")))

    @pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "-a", "x" * 101, "a\n"])
    def test_an_id_that_cannot_name_a_folder_is_refused(self, world: World, name: str) -> None:
        with pytest.raises(InvalidArgument):
            world.store.run(tasks.put(NewTask(id=name, service=world.service, kind="command")))


class TestAssign:
    def test_it_moves_to_the_queue_of_the_instance(self, world: World) -> None:
        instance, task = world.instance(), world.put()
        world.assigned(instance, task)
        found = world.task(task)
        assert (found.state, found.instance) == (TaskState.ASSIGNED, instance)
        assert found.assigned_at is not None
        assert (world.waiting(), world.handed(instance)) == ([], [task])
        assert world.find(instance).state is InstanceState.BUSY
        assert world.find(instance).tasks == (task,)
        assert world.store.run(tasks.active(world.service)) == [task]

    def test_the_job_is_one_that_rq_can_read(self, world: World) -> None:
        instance = world.instance()
        task = world.assigned(instance)
        job = Job.fetch(task, connection=world.rq(), serializer=JSONSerializer)
        assert (job.func_name, job.args) == ("backend.worker.jobs.run_task", [task])
        assert job.origin == instance_queue(instance)
        assert job.get_status() == "queued"

    def test_a_job_that_rq_forgot_while_it_waited_is_written_anew(self, world: World) -> None:
        first, second, task = world.instance(), world.instance(), world.put()
        holder = world.running(first, task)
        world.store.run(tasks.give_back(holder, "drained", counted=False, max_delivery=3))
        world.ask("DEL", key("rq_job", task))
        world.assigned(second, task)
        job = Job.fetch(task, connection=world.rq(), serializer=JSONSerializer)
        assert job.args == [task]
        assert world.ask("TTL", key("rq_job", task)) == -1

    @pytest.mark.parametrize(
        ("spoil", "answer"),
        [
            (
                lambda world, instance: world.store.run(instances.enter(instance, InstanceState.DRAINING)),
                "draining",
            ),
            (lambda world, instance: world.expire_lease(instance), "lease over"),
            (lambda world, instance: world.assigned(instance), "no room"),
            (
                lambda world, instance: world.store.run(
                    instances.gone(instance, "", counted=True, max_delivery=0)
                ),
                "gone",
            ),
        ],
        ids=["draining", "lease over", "full", "gone"],
    )
    def test_an_instance_that_cannot_take_it_does_not_get_it(
        self, world: World, spoil: Callable[[World, str], object], answer: str
    ) -> None:
        instance, task = world.instance(), world.put()
        spoil(world, instance)
        assert answer in world.store.run(tasks.assign(task, instance, 1))
        assert world.state(task) is TaskState.WAITING
        assert task in world.waiting()

    def test_an_instance_that_is_not_up_yet_or_unknown_gets_nothing(self, world: World) -> None:
        starting, task = world.instance(ready=False), world.put()
        assert "starting" in world.store.run(tasks.assign(task, starting, 1))
        assert "missing" in world.store.run(tasks.assign(task, "nobody", 1))
        assert world.waiting() == [task]

    def test_another_service_s_instance_gets_nothing(self, world: World) -> None:
        other = World(world.store.url)
        task = world.put()
        assert world.store.run(tasks.assign(task, other.instance(), 1)) != "ok"
        assert world.waiting() == [task]
        other.close()

    def test_only_a_waiting_task_is_assigned(self, world: World) -> None:
        first, second = world.instance(), world.instance()
        holder = world.running(first)
        assert "running" in world.store.run(tasks.assign(holder.task, second, 1))
        assert "missing" in world.store.run(tasks.assign("nothing", second, 1))
        assert world.instance_state(second) is InstanceState.IDLE

    def test_an_instance_with_slots_takes_as_many(self, world: World) -> None:
        instance = world.instance(slots=3)
        for _ in range(3):
            world.assigned(instance, most=3)
        assert world.store.run(tasks.assign(world.put(), instance, 3)) == "no room"
        assert len(world.find(instance).tasks) == 3


class TestClaim:
    def test_it_raises_the_attempt_and_starts_the_task(self, world: World) -> None:
        instance, task = world.instance(), world.put()
        world.assigned(instance, task)
        holder = world.claimed(instance, task)
        found = world.task(task)
        assert (holder.attempt, found.attempt, found.state) == (1, 1, TaskState.RUNNING)
        (attempt,) = found.attempts
        assert (attempt.number, attempt.instance, attempt.ended_at) == (1, instance, None)

    def test_a_task_that_was_given_to_another_is_not_claimed(self, world: World) -> None:
        first, second, task = world.instance(), world.instance(), world.put()
        world.assigned(first, task)
        world.store.run(tasks.unclaimed(task, 0))
        world.assigned(second, task)
        assert world.store.run(tasks.claim(task, first)) == 0
        assert world.state(task) is TaskState.ASSIGNED

    def test_it_is_claimed_once(self, world: World) -> None:
        instance = world.instance()
        holder = world.running(instance)
        assert world.store.run(tasks.claim(holder.task, instance)) == 0
        assert world.task(holder.task).attempt == 1

    def test_what_does_not_exist_is_not_claimed(self, world: World) -> None:
        assert world.store.run(tasks.claim("nothing", world.instance())) == 0

    def test_a_task_that_was_cancelled_on_its_way_never_starts(self, world: World) -> None:
        instance, task = world.instance(), world.put()
        world.assigned(instance, task)
        # RQ's worker has taken the job already
        world.ask("LPOP", key("rq_queue", instance_queue(instance)))
        assert world.store.run(tasks.cancel(task)) is TaskState.ASSIGNED
        assert world.store.run(tasks.claim(task, instance)) == 0
        assert world.state(task) is TaskState.CANCELLED
        assert world.task(task).attempts == ()
        assert world.instance_state(instance) is InstanceState.IDLE


class TestAppend:
    def test_lines_and_records_go_where_they_belong(self, world: World) -> None:
        holder = world.running(world.instance())
        progress = Progress(1, 10, loss=0.5)
        said = [Phase("training"), progress, FileWritten("sample", "/x.png"), Failed("nan"), Result("/x")]
        pairs = [outputs.spoken(record) for record in said]
        assert world.store.run(outputs.append(holder, ["one", ""], pairs, batch=1)) == 2
        assert world.store.run(outputs.append(holder, ["three ◯"], [], batch=2)) == 3
        task = world.task(holder.task)
        assert world.store.run(outputs.log(holder.task)) == [(1, "one"), (2, ""), (3, "three ◯")]
        assert world.store.run(outputs.log(holder.task, 1, limit=1)) == [(2, "")]
        assert (task.log_lines, task.phase, task.progress) == (3, "training", progress)
        assert (task.failure, task.output) == ("nan", "/x")
        assert world.store.run(outputs.scalars(holder.task)) == [(1, progress)]
        assert world.store.run(outputs.files(holder.task)) == [FileWritten("sample", "/x.png")]

    def test_sending_a_batch_again_adds_nothing(self, world: World) -> None:
        holder = world.running(world.instance())
        pairs = [("progress", records.encode(Progress(1, 2)))]
        first = world.store.run(outputs.append(holder, ["a", "b"], pairs, batch=1, sink=world.sink))
        again = world.store.run(outputs.append(holder, ["a", "b"], pairs, batch=1, sink=world.sink))
        assert first == again == 2
        assert world.log(holder.task) == ["a", "b"]
        assert len(world.store.run(outputs.scalars(holder.task))) == 1
        assert len(items(world)) == 1

    def test_a_new_attempt_counts_its_batches_anew_and_its_lines_on(self, world: World) -> None:
        first = world.running(world.instance())
        world.store.run(outputs.append(first, ["a"], [], batch=1))
        world.store.run(tasks.give_back(first, "x", counted=True, max_delivery=5))
        second = world.running(world.instance(), first.task)
        world.store.run(outputs.append(second, ["b"], [], batch=1))
        assert world.store.run(outputs.log(first.task)) == [(1, "a"), (2, "b")]

    def test_lines_go_to_the_output_queue_with_the_task_s_tags(self, world: World) -> None:
        holder = world.running(world.instance(), tags={"taskType": "command", "who": "me"})
        world.store.run(outputs.append(holder, ["a", "b"], [], batch=1, sink=world.sink))
        world.store.run(outputs.append(holder, ["c"], [], batch=2, sink=world.sink))
        first, second = items(world)
        assert (first[1], second[1]) == ("a\nb\n", "c\n")
        assert first[0] == {"taskType": "command", "who": "me", "requestId": holder.task, "log.seq": "0"}
        assert second[0]["log.seq"] == "2"

    @pytest.mark.parametrize(
        ("settings", "refusal"),
        [
            ({"capacity": 1}, "full"),
            ({"max_payload": 3}, "large"),
        ],
    )
    def test_an_output_queue_that_takes_nothing_leaves_everything_as_it_was(
        self, world: World, settings: dict[str, int], refusal: str
    ) -> None:
        holder = world.running(world.instance())
        world.store.run(outputs.append(holder, ["1"], [], batch=1, sink=world.sink))
        world.ask("HSET", key("queue", world.sink), *(part for pair in settings.items() for part in pair))
        pairs = [outputs.spoken(Phase("late"))]
        call = outputs.append(holder, ["a long line"], pairs, batch=2, sink=world.sink)
        assert world.store.run(call) == refusal
        assert world.log(holder.task) == ["1"]
        assert world.task(holder.task).phase == ""
        assert len(items(world)) == 1

    def test_an_output_queue_that_was_ended_says_so(self, world: World) -> None:
        holder = world.running(world.instance())
        world.ask("HSET", key("queue", world.sink), "ended", 1)
        assert world.store.run(outputs.append(holder, ["x"], [], batch=1, sink=world.sink)) == "ended"
        assert world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, "", sink=world.sink)) == "ended"
        assert world.state(holder.task) is TaskState.RUNNING

    def test_records_alone_need_no_room_in_the_output_queue(self, world: World) -> None:
        holder = world.running(world.instance())
        world.ask("HSET", key("queue", world.sink), "ended", 1)
        call = outputs.append(holder, [], [outputs.spoken(Phase("x"))], batch=1, sink=world.sink)
        assert world.store.run(call) == 0
        assert world.task(holder.task).phase == "x"


def items(world: World) -> list[tuple[dict[str, str], str]]:
    """What stands in the output queue: tags and text, oldest first."""
    found = world.store.run(streams.get(world.sink, {}, length=100))
    return [(item.tags, item.data.decode()) for item in found]


class TestFinish:
    @pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED])
    def test_the_end_is_complete(self, world: World, state: TaskState) -> None:
        instance = world.instance()
        holder = world.running(instance)
        call = tasks.finish(holder, state, "why", exit_code=3, output="/x", sink=world.sink)  # type: ignore[arg-type]
        assert world.store.run(call) is None
        task = world.task(holder.task)
        assert (task.state, task.reason, task.exit_code, task.output) == (state, "why", 3, "/x")
        assert task.finished_at is not None
        (attempt,) = task.attempts
        assert (attempt.outcome, attempt.reason) == (state.value, "why")
        assert world.store.run(tasks.active(world.service)) == []
        found = world.find(instance)
        assert (found.state, found.tasks, found.completed) == (InstanceState.IDLE, (), 1)
        assert found.idle_since is not None
        ((tags, text),) = items(world)
        status = {"succeeded": "Succeeded", "failed": "Failed", "cancelled": "Terminated"}[state.value]
        assert (tags["job.status"], tags["job.exitCode"], tags["requestId"]) == (status, "3", holder.task)
        assert text == "why"

    def test_a_full_output_queue_lets_the_task_run_on(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run(outputs.append(holder, ["1"], [], batch=1, sink=world.sink))
        world.ask("HSET", key("queue", world.sink), "capacity", 1)
        assert world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, "", sink=world.sink)) == "full"
        assert world.state(holder.task) is TaskState.RUNNING
        assert world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, "")) is None

    def test_rq_s_record_of_an_ended_task_is_not_kept_for_ever(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
        assert 0 < world.ask("TTL", key("rq_job", holder.task)) <= 24 * 3600
        waiting = world.put()
        assert world.ask("TTL", key("rq_job", waiting)) == -1
        world.store.run(tasks.cancel(waiting))
        assert 0 < world.ask("TTL", key("rq_job", waiting)) <= 24 * 3600


WORDS: dict[str, Callable[[World, Holder], object]] = {
    "append": lambda world, holder: world.store.run(outputs.append(holder, ["late"], [], batch=9)),
    "finish": lambda world, holder: world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, "late")),
    "give back": lambda world, holder: world.store.run(
        tasks.give_back(holder, "late", counted=True, max_delivery=9)
    ),
}


@pytest.mark.parametrize("word", WORDS)
class TestFencing:
    """A late word changes nothing, whatever has happened to the task since."""

    def check(self, world: World, holder: Holder, word: str) -> None:
        before, log = world.task(holder.task), world.log(holder.task)
        instance = world.settled(holder.instance)
        with pytest.raises(StaleAttempt):
            WORDS[word](world, holder)
        assert (world.task(holder.task), world.log(holder.task)) == (before, log)
        assert world.settled(holder.instance) == instance
        assert world.waiting().count(holder.task) == (before.state is TaskState.WAITING)

    def test_after_the_end(self, world: World, word: str) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.finish(holder, TaskState.FAILED, "first"))
        self.check(world, holder, word)

    def test_after_it_went_back(self, world: World, word: str) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.give_back(holder, "x", counted=True, max_delivery=5))
        self.check(world, holder, word)

    def test_while_the_next_attempt_runs_elsewhere(self, world: World, word: str) -> None:
        holder = world.running(world.instance())
        world.store.run(instances.gone(holder.instance, "lost", counted=True, max_delivery=5))
        world.running(world.instance(), holder.task)
        self.check(world, holder, word)

    def test_while_the_next_attempt_runs_on_the_same_instance(self, world: World, word: str) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.give_back(holder, "x", counted=True, max_delivery=5))
        world.running(holder.instance, holder.task)
        self.check(world, holder, word)

    def test_from_an_instance_that_never_had_it(self, world: World, word: str) -> None:
        holder = world.running(world.instance())
        self.check(world, Holder(holder.task, holder.attempt, world.instance()), word)

    def test_about_a_task_that_does_not_exist(self, world: World, word: str) -> None:
        with pytest.raises(StaleAttempt):
            WORDS[word](world, Holder("nothing", 1, "nobody"))


class TestGiveBack:
    def test_it_goes_to_the_head_of_the_queue(self, world: World) -> None:
        first, second = world.put(), world.put()
        instance = world.instance()
        holder = world.running(instance, second)
        state = world.store.run(tasks.give_back(holder, "its instance left", counted=False, max_delivery=3))
        assert state is TaskState.WAITING
        assert world.waiting() == [second, first]
        task = world.task(second)
        assert (task.reason, task.instance, task.deliveries) == ("its instance left", "", 0)
        assert task.attempts[0].outcome == "returned"
        assert world.instance_state(instance) is InstanceState.IDLE

    def test_too_many_counted_deliveries_make_a_dead_letter(self, world: World) -> None:
        task = world.put()
        for number in (1, 2, 3):
            holder = world.running(world.instance(), task)
            state = world.store.run(tasks.give_back(holder, f"fault {number}", counted=True, max_delivery=3))
            assert state is (TaskState.DEAD if number == 3 else TaskState.WAITING)
        found = world.task(task)
        assert "given up after 3 attempts: fault 3" in found.reason
        assert [attempt.outcome for attempt in found.attempts] == ["returned", "returned", "dead"]
        assert world.store.run(tasks.dead(world.service)) == [task]
        assert world.waiting() == []

    def test_what_was_not_the_task_s_fault_is_never_too_often(self, world: World) -> None:
        task = world.put()
        for _ in range(5):
            holder = world.running(world.instance(), task)
            world.store.run(tasks.give_back(holder, "drain", counted=False, max_delivery=1))
        assert world.state(task) is TaskState.WAITING

    def test_a_task_that_was_to_be_stopped_does_not_run_again(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.cancel(holder.task, "save"))
        state = world.store.run(tasks.give_back(holder, "drain", counted=False, max_delivery=3))
        assert state is TaskState.CANCELLED
        assert world.waiting() == []

    def test_a_task_whose_service_was_removed_does_not_wait_for_ever(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run_all(services.forget(world.service))
        state = world.store.run(tasks.give_back(holder, "drain", counted=False, max_delivery=3))
        assert state is TaskState.CANCELLED


class TestUnclaimed:
    def test_a_task_that_nobody_begins_goes_back(self, world: World) -> None:
        instance, task = world.instance(), world.put()
        world.assigned(instance, task)
        assert world.store.run(tasks.unclaimed(task, 60)) == "kept"
        assert world.store.run(tasks.unclaimed(task, 0)) == "waiting"
        assert (world.waiting(), world.handed(instance)) == ([task], [])
        assert world.task(task).deliveries == 0
        assert world.instance_state(instance) is InstanceState.IDLE

    def test_a_running_one_is_kept(self, world: World) -> None:
        holder = world.running(world.instance())
        assert world.store.run(tasks.unclaimed(holder.task, 0)) == "kept"


class TestCancel:
    def test_a_waiting_task_ends_at_once(self, world: World) -> None:
        task = world.put()
        assert world.store.run(tasks.cancel(task, by="ana")) is TaskState.CANCELLED
        assert world.waiting() == []
        assert world.task(task).reason == "cancelled by ana before it started"

    def test_an_assigned_task_ends_at_once(self, world: World) -> None:
        instance, task = world.instance(), world.put()
        world.assigned(instance, task)
        assert world.store.run(tasks.cancel(task)) is TaskState.CANCELLED
        assert world.handed(instance) == []
        assert world.instance_state(instance) is InstanceState.IDLE

    def test_a_running_task_is_asked_through_its_instance(self, world: World) -> None:
        instance = world.instance()
        holder = world.running(instance)
        with world.store.listen(key("control", instance)) as wakes:
            wakes.get_message(timeout=0.1)
            assert world.store.run(tasks.cancel(holder.task, "save")) is TaskState.RUNNING
            assert wakes.get_message(timeout=20.0)
        assert world.store.run(instances.renew(instance, 60)).tasks == {holder.task: "save"}

    def test_what_has_ended_stays_as_it_ended(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
        before = world.task(holder.task)
        assert world.store.run(tasks.cancel(holder.task)) is TaskState.SUCCEEDED
        assert world.task(holder.task) == before

    def test_what_is_not_there(self, world: World) -> None:
        with pytest.raises(NotFound):
            world.store.run(tasks.cancel("nothing"))


class TestDelete:
    def test_one_that_has_ended_is_forgotten_whole(self, world: World) -> None:
        holder, other = world.running(world.instance()), world.put()
        world.store.run(outputs.append(holder, ["line"], [outputs.spoken(Progress(1, 2))], batch=1))
        with pytest.raises(Conflict, match="running"):
            world.store.run(tasks.delete(holder.task))
        assert world.log(holder.task) == ["line"]
        world.store.run(tasks.finish(holder, TaskState.FAILED, ""))

        assert world.store.run(tasks.delete(holder.task))
        assert not world.store.run(tasks.delete(holder.task))
        assert world.keys(f"*{holder.task}*") == []
        assert world.store.run(tasks.newest(world.service)) == [other]
        with pytest.raises(NotFound, match="deleted"):
            world.task(holder.task)

    def test_a_waiting_one_keeps_its_place(self, world: World) -> None:
        task = world.put()
        with pytest.raises(Conflict, match="waiting"):
            world.store.run(tasks.delete(task))
        assert world.waiting() == [task]


class TestExpire:
    def test_old_ended_tasks_are_forgotten_whole_and_no_others(self, world: World) -> None:
        old, new, waiting = world.running(world.instance()), world.running(world.instance()), world.put()
        for holder in (old, new):
            pairs = [outputs.spoken(Progress(1, 2)), outputs.spoken(FileWritten("other", "/x"))]
            world.store.run(outputs.append(holder, ["line"], pairs, batch=1))
            world.store.run(tasks.finish(holder, TaskState.SUCCEEDED, ""))
        world.ask("ZINCRBY", key("finished"), -1000, old.task)
        assert world.store.run(tasks.expire(500)) == 1
        assert world.store.run(tasks.expire(500)) == 0
        assert world.keys(f"*{old.task}*") == []
        assert world.store.run(tasks.newest(world.service)) == [waiting, new.task]
        assert world.store.run(tasks.by_request(world.service, old.task)) is None
        assert world.log(new.task) == ["line"]

    def test_a_dead_letter_is_forgotten_with_its_task(self, world: World) -> None:
        holder = world.running(world.instance())
        world.store.run(tasks.give_back(holder, "x", counted=True, max_delivery=1))
        world.ask("ZINCRBY", key("finished"), -1000, holder.task)
        world.store.run(tasks.expire(500))
        assert world.store.run(tasks.dead(world.service)) == []

    def test_of_many_the_newest_are_kept_however_young_the_others_are(self, world: World) -> None:
        while world.store.run(tasks.expire(1e-6)):
            pass  # what other tests left
        ended = [world.put() for _ in range(5)]
        for task in ended:
            world.store.run(tasks.cancel(task))
        assert world.store.run(tasks.expire(0.0, kept=3)) == 2
        assert world.store.run(tasks.newest(world.service)) == ended[:1:-1]
        assert world.store.run(tasks.expire(0.0, kept=3)) == 0
        assert world.store.run(tasks.expire(0.0)) == 0, "no limit, none forgotten"

    def test_at_most_so_many_at_once(self, world: World) -> None:
        for _ in range(5):
            task = world.put()
            world.store.run(tasks.cancel(task))
            world.ask("ZINCRBY", key("finished"), -1000, task)
        counts = [world.store.run(tasks.expire(500, 2)) for _ in range(4)]
        assert counts == [2, 2, 1, 0]
