"""Random histories of tasks and instances against a model: nothing is lost, nothing ends twice, the lists agree.

The model is what `backend/task.py` and `backend/instance.py` say, in memory. After every step the real store is
compared with it, RQ's lists and sets included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend.errors import StaleAttempt
from backend.instance import INSTANCE_TRANSITIONS, InstanceState
from backend.store import instances, outputs, tasks
from backend.store.call import command
from backend.store.embedded import EmbeddedStore
from backend.store.keys import instance_queue, key
from backend.store.outputs import Holder
from backend.task import TRANSITIONS, Stop, Task, TaskState
from tests.support.store_world import World

SLOTS = 2
MAX_DELIVERY = 3
ENDS = st.sampled_from([TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED])


@dataclass
class ModelTask:
    state: TaskState = TaskState.WAITING
    instance: str = ""
    attempt: int = 0
    deliveries: int = 0
    cancel: Stop | None = None
    popped: bool = False
    lines: int = 0
    batch: int = 0
    ended: Task | None = None


@dataclass
class ModelInstance:
    state: InstanceState = InstanceState.IDLE
    held: set[str] = field(default_factory=set)
    completed: int = 0


class Histories(RuleBasedStateMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.world = World(url)
        self.tasks: dict[str, ModelTask] = {}
        self.instances: dict[str, ModelInstance] = {}
        self.holders: list[Holder] = []
        self.buried: set[str] = set()
        self.queue: list[str] = []

    def teardown(self) -> None:
        self.world.close()

    def _in(self, *states: TaskState) -> list[str]:
        return [name for name, model in self.tasks.items() if model.state in states]

    def _present(self) -> list[str]:
        return [n for n, model in self.instances.items() if model.state is not InstanceState.GONE]

    def _speaking(self) -> list[Holder]:
        return [holder for holder in self.holders if self._speaks(holder)]

    # what people and gateways do

    @precondition(lambda self: len(self.queue) < 4)
    @rule()
    def put(self) -> None:
        task = self.world.put()
        self.tasks[task] = ModelTask()
        self.queue.append(task)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def put_again(self, data: st.DataObject) -> None:
        self.world.put(data.draw(st.sampled_from(list(self.tasks))))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), how=st.sampled_from(["stop", "save"]))
    def cancel(self, data: st.DataObject, how: Stop) -> None:
        held = self._in(TaskState.ASSIGNED, TaskState.RUNNING)
        task = data.draw(
            st.sampled_from(held) | st.sampled_from(list(self.tasks))
            if held
            else st.sampled_from(list(self.tasks))
        )
        model = self.tasks[task]
        after = self.world.store.run(tasks.cancel(task, how))
        if model.state is TaskState.WAITING or (model.state is TaskState.ASSIGNED and not model.popped):
            self._end(task, TaskState.CANCELLED)
        elif model.state in (TaskState.ASSIGNED, TaskState.RUNNING):
            model.cancel = how
        assert after is model.state

    # what the supervisor does

    @precondition(lambda self: len(self._present()) < 3)
    @rule()
    def start_instance(self) -> None:
        self.instances[self.world.instance(slots=SLOTS)] = ModelInstance()

    @precondition(lambda self: self.queue and self.instances)
    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.queue))
        self._assign(task, data.draw(st.sampled_from(self._present() or list(self.instances))))

    @precondition(lambda self: self.queue)
    @rule()
    def get_the_next_one_to_run(self) -> None:
        """What a supervisor with an idle instance does all day, as one step: histories get further this way."""
        task = self.queue[0]
        room = [n for n, m in self.instances.items() if m.state is InstanceState.BUSY and len(m.held) < SLOTS]
        room += [n for n, m in self.instances.items() if m.state is InstanceState.IDLE]
        if not room:
            self.start_instance()
            room = list(self.instances)[-1:]
        self._assign(task, room[0])
        self._claim(task, room[0])

    @precondition(lambda self: self.queue)
    @rule(times=st.integers(1, MAX_DELIVERY))
    def it_takes_its_runs_down(self, times: int) -> None:
        """A poison task, again and again at the head of the queue."""
        task = self.queue[0]
        for _ in range(times):
            if self.queue[:1] == [task]:
                self.get_the_next_one_to_run()
                self._hand_back(self.holders[-1], counted=True)

    @precondition(lambda self: self.tasks and self.instances)
    @rule(data=st.data())
    def assign_anything(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(list(self.tasks)))
        self._assign(task, data.draw(st.sampled_from(list(self.instances))))

    def _assign(self, task: str, instance: str) -> None:
        model, worker = self.tasks[task], self.instances[instance]
        answer = self.world.store.run(tasks.assign(task, instance, SLOTS))
        takes = worker.state in (InstanceState.IDLE, InstanceState.BUSY) and len(worker.held) < SLOTS
        assert (answer == "ok") == (model.state is TaskState.WAITING and takes)
        if answer == "ok":
            self._move(task, TaskState.ASSIGNED)
            model.instance, model.popped = instance, False
            worker.held.add(task)
            worker.state = InstanceState.BUSY
            self.queue.remove(task)

    @precondition(lambda self: self._in(TaskState.ASSIGNED, TaskState.RUNNING))
    @rule(data=st.data())
    def take_back_unclaimed(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self._in(TaskState.ASSIGNED, TaskState.RUNNING)))
        model = self.tasks[task]
        answer = self.world.store.run(tasks.unclaimed(task, 0))
        assert (answer != "kept") == (model.state is TaskState.ASSIGNED)
        if answer != "kept":
            self._give_back(task, counted=False)

    @precondition(lambda self: self.instances)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(list(self.instances)))
        worker = self.instances[instance]
        after = self.world.store.run(instances.enter(instance, InstanceState.DRAINING))
        if InstanceState.DRAINING in INSTANCE_TRANSITIONS[worker.state]:
            worker.state = InstanceState.DRAINING
        assert after is worker.state

    @precondition(lambda self: self.instances)
    @rule(data=st.data(), counted=st.booleans())
    def bury(self, data: st.DataObject, counted: bool) -> None:
        instance = data.draw(st.sampled_from(list(self.instances)))
        worker = self.instances[instance]
        call = instances.gone(instance, "lost", counted=counted, max_delivery=MAX_DELIVERY)
        back = self.world.store.run(call)
        if worker.state is InstanceState.GONE:
            assert back == {}
            return
        held = set(worker.held)
        waiting = []
        for task in held:
            self._give_back(task, counted=counted and self.tasks[task].state is TaskState.RUNNING)
            if self.tasks[task].state is TaskState.WAITING:
                waiting.append(task)
        worker.state = InstanceState.GONE
        assert back == {task: self.tasks[task].state for task in held}
        # Of several that come back at once, which comes first is open.
        now = self.world.waiting()[: len(waiting)]
        assert sorted(now) == sorted(waiting)
        self.queue[: len(waiting)] = now

    # what an instance does

    @precondition(lambda self: self._in(TaskState.ASSIGNED))
    @rule(data=st.data())
    def rq_takes_the_next_job(self, data: st.DataObject) -> None:
        instance = self.tasks[data.draw(st.sampled_from(self._in(TaskState.ASSIGNED)))].instance
        popped = self.world.ask("LPOP", key("rq_queue", instance_queue(instance)))
        if popped is not None:
            self.tasks[popped.decode()].popped = True

    @precondition(lambda self: self._in(TaskState.ASSIGNED))
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self._in(TaskState.ASSIGNED)))
        self._claim(task, self.tasks[task].instance)

    @precondition(lambda self: self.tasks and self.instances)
    @rule(data=st.data())
    def claim_anything(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(list(self.tasks)))
        self._claim(task, data.draw(st.sampled_from(list(self.instances))))

    def _claim(self, task: str, instance: str) -> None:
        model = self.tasks[task]
        mine = model.state is TaskState.ASSIGNED and model.instance == instance
        if mine:
            # Only a job that RQ's worker has taken is claimed.
            self.world.ask("LREM", key("rq_queue", instance_queue(instance)), 0, task)
            model.popped = True
        attempt = self.world.store.run(tasks.claim(task, instance))
        if mine and model.cancel:
            self._end(task, TaskState.CANCELLED)
        if not mine or model.state.final:
            assert attempt == 0
            return
        self._move(task, TaskState.RUNNING)
        model.attempt += 1
        model.batch = 0
        assert attempt == model.attempt
        self.holders.append(Holder(task, attempt, instance))

    @precondition(lambda self: self._speaking())
    @rule(data=st.data(), lines=st.integers(0, 3), again=st.booleans())
    def say(self, data: st.DataObject, lines: int, again: bool) -> None:
        holder = data.draw(st.sampled_from(self._speaking()))
        model = self.tasks[holder.task]
        batch = model.batch if again and model.batch else model.batch + 1
        if batch != model.batch:
            model.lines, model.batch = model.lines + lines, batch
        assert self.world.store.run(outputs.append(holder, ["x"] * lines, [], batch=batch)) == model.lines

    @precondition(lambda self: self._speaking())
    @rule(data=st.data(), state=ENDS)
    def finish(self, data: st.DataObject, state: Any) -> None:
        holder = data.draw(st.sampled_from(self._speaking()))
        assert self.world.store.run(tasks.finish(holder, state, "why")) is None
        self.instances[holder.instance].completed += 1
        self._end(holder.task, state)

    @precondition(lambda self: self._speaking())
    @rule(data=st.data(), counted=st.booleans())
    def hand_back(self, data: st.DataObject, counted: bool) -> None:
        self._hand_back(data.draw(st.sampled_from(self._speaking())), counted=counted)

    def _hand_back(self, holder: Holder, *, counted: bool) -> None:
        call = tasks.give_back(holder, "why", counted=counted, max_delivery=MAX_DELIVERY)
        after = self.world.store.run(call)
        self._give_back(holder.task, counted=counted)
        assert after is self.tasks[holder.task].state

    @precondition(lambda self: len(self._speaking()) < len(self.holders))
    @rule(data=st.data(), state=ENDS, word=st.sampled_from(["append", "finish", "give back"]))
    def speak_too_late(self, data: st.DataObject, state: Any, word: str) -> None:
        late = [holder for holder in self.holders if not self._speaks(holder)]
        # The hardest to tell apart: a later attempt runs on the very same instance.
        now = {(holder.task, holder.instance) for holder in self._speaking()}
        twins = [holder for holder in late if (holder.task, holder.instance) in now]
        holder = data.draw(st.sampled_from(twins or late))
        calls: dict[str, Any] = {
            "append": outputs.append(holder, ["late"], [], batch=99),
            "finish": tasks.finish(holder, state, "late"),
            "give back": tasks.give_back(holder, "late", counted=True, max_delivery=MAX_DELIVERY),
        }
        with pytest.raises(StaleAttempt):
            self.world.store.run(calls[word])

    # the model

    def _speaks(self, holder: Holder) -> bool:
        model = self.tasks[holder.task]
        now = (model.state, model.attempt, model.instance)
        return now == (TaskState.RUNNING, holder.attempt, holder.instance)

    def _move(self, task: str, state: TaskState) -> None:
        model = self.tasks[task]
        assert state in TRANSITIONS[model.state], f"{model.state} -> {state} is not in the table"
        model.state = state

    def _release(self, task: str) -> None:
        worker = self.instances.get(self.tasks[task].instance)
        if worker is not None:
            worker.held.discard(task)
            if not worker.held and worker.state is InstanceState.BUSY:
                worker.state = InstanceState.IDLE

    def _end(self, task: str, state: TaskState) -> None:
        self._move(task, state)
        self._release(task)
        if task in self.queue:
            self.queue.remove(task)

    def _give_back(self, task: str, *, counted: bool) -> None:
        model = self.tasks[task]
        if model.cancel:
            self._end(task, TaskState.CANCELLED)
            return
        model.deliveries += counted
        if counted and model.deliveries >= MAX_DELIVERY:
            self._end(task, TaskState.DEAD)
            return
        self._move(task, TaskState.WAITING)
        self._release(task)
        model.instance = ""
        self.queue.insert(0, task)

    # the comparison

    @invariant()
    def every_task_is_as_the_model_says(self) -> None:
        found = self.world.store.run_all([tasks.get(name) for name in self.tasks])
        logs = self.world.store.run_all([outputs.log(name) for name in self.tasks])
        for (name, model), task, log in zip(self.tasks.items(), found, logs, strict=True):
            assert (task.state, task.attempt, task.deliveries) == (
                model.state,
                model.attempt,
                model.deliveries,
            )
            assert task.log_lines == model.lines == len(log)
            assert [attempt.number for attempt in task.attempts] == list(range(1, model.attempt + 1))
            open_ones = [attempt.number for attempt in task.attempts if attempt.ended_at is None]
            assert open_ones == ([model.attempt] if model.state is TaskState.RUNNING else [])
            if not task.final:
                assert self.world.ask("EXISTS", key("rq_job", name)) == 1
                continue
            if model.ended is None:
                model.ended = task
            assert task == model.ended, "a final state changed"

    @invariant()
    def every_list_agrees_with_the_states(self) -> None:
        world = self.world
        assert world.waiting() == self.queue
        assert set(self.queue) == {n for n, m in self.tasks.items() if m.state is TaskState.WAITING}
        held = {n for n, m in self.tasks.items() if m.state in (TaskState.ASSIGNED, TaskState.RUNNING)}
        assert set(world.store.run(tasks.active(world.service))) == held
        assert set(world.store.run(tasks.newest(world.service))) == set(self.tasks)
        dead = {n for n, m in self.tasks.items() if m.state is TaskState.DEAD}
        assert set(world.store.run(tasks.dead(world.service))) == dead
        finished = {n for n, m in self.tasks.items() if m.state.final}
        scores = world.store.run_all([command("ZSCORE", key("finished"), name) for name in self.tasks])
        assert [score is not None for score in scores] == [name in finished for name in self.tasks]

    @invariant()
    def every_instance_is_as_the_model_says(self) -> None:
        for name, model in self.instances.items():
            if model.state is InstanceState.GONE and name in self.buried:
                continue
            if model.state is InstanceState.GONE:
                self.buried.add(name)  # looked at once more, then never again
            found = self.world.find(name)
            assert (found.state, set(found.tasks)) == (model.state, model.held)
            assert found.completed == model.completed
            assert (found.state is InstanceState.BUSY) <= bool(found.tasks)
            handed = {
                t
                for t, m in self.tasks.items()
                if m.instance == name and m.state is TaskState.ASSIGNED and not m.popped
            }
            assert set(self.world.handed(name)) == handed
            assert len(self.world.handed(name)) == len(handed)


def test_random_histories(server: EmbeddedStore) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Histories(server.url),
        settings=settings(
            max_examples=40,
            stateful_step_count=50,
            deadline=None,
            # Shrinking a history takes minutes; the first one found is told as it is.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
