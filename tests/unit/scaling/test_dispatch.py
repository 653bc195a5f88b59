"""Which waiting task goes to which instance: single passes."""

from __future__ import annotations

import pytest

from backend.scaling import InstanceView, Memory, WaitingTask, pick, plan
from backend.scaling.dispatch import LOOK_AHEAD, MAX_LEAD, MAX_SHARE_AHEAD
from backend.scaling.fairness import MAX_OVERTAKEN
from tests.support.scaling_world import busy, idle, queue, running, snapshot, starting, waiting


def handed(*parts: WaitingTask | InstanceView, overtaken: dict[str, int] | None = None) -> dict[str, str]:
    """Task by task, the instance that it was given to."""
    return {a.task: a.instance for a in pick(snapshot(*parts), overtaken).assignments}


def slot_holder(name: str, queries: int, *, slots: int = 4) -> InstanceView:
    runs = tuple(running(f"{name}-{n}", kind="query") for n in range(queries))
    return busy(name, *runs, slots=slots)


def test_the_most_recently_idle_instance_comes_first() -> None:
    assert handed(idle("a", since=90), idle("b", since=5), idle("c", since=40), waiting("t")) == {"t": "b"}


def test_tasks_are_handed_out_in_their_order() -> None:
    found = handed(idle("a", since=2), idle("b", since=1), *queue(3, "ana"))
    assert found == {"ana000": "b", "ana001": "a"}


@pytest.mark.parametrize("kind", ["command", "query"])
def test_only_ready_instances_get_anything(kind: str) -> None:
    task = waiting("t", kind="command" if kind == "command" else "query")
    assert handed(starting("s"), busy("d", running("r", kind="query"), slots=4, draining=True), task) == {}


def test_a_command_takes_a_whole_instance() -> None:
    assert handed(slot_holder("a", 1), waiting("t")) == {}
    both = handed(idle("a", slots=4), waiting("c", since=9), waiting("q", since=8, kind="query"))
    assert both == {"c": "a"}


def test_no_query_joins_a_command() -> None:
    assert handed(busy("a", slots=4), waiting("q", kind="query")) == {}


def test_queries_fill_slots_idle_instances_first() -> None:
    queries = queue(6, kind="query")
    found = handed(slot_holder("half", 3), idle("idle", slots=4), *queries)
    # One opens the idle instance; the rest go where most slots are free, and no slot is given twice.
    assert found["000"] == "idle"
    assert sorted(found.values()) == ["half"] + ["idle"] * 4


def test_a_higher_priority_goes_first_whatever_was_put_when() -> None:
    parts = (waiting("low", since=90), waiting("high", since=1, priority=1), idle("a"))
    assert handed(*parts) == {"high": "a"}


def test_an_hour_of_waiting_is_worth_one_priority() -> None:
    late = waiting("late", since=3_700)
    assert handed(late, waiting("urgent", since=1, priority=1), idle("a")) == {"late": "a"}
    assert handed(late, waiting("urgent", since=1, priority=2), idle("a")) == {"urgent": "a"}


def test_what_was_handed_back_stands_at_the_head() -> None:
    assert handed(waiting("back", since=1), *queue(3), idle("a")) == {"back": "a"}


class TestWarmModels:
    def test_the_instance_that_has_the_model_is_taken(self) -> None:
        task = waiting("t", models=("m1",))
        assert handed(idle("a", since=1), idle("b", since=90, loaded=("m1",)), task) == {"t": "b"}

    def test_the_one_with_the_lora_too_is_better(self) -> None:
        task = waiting("t", models=("m1", "lora"))
        base, both = idle("base", since=1, loaded=("m1",)), idle("both", since=90, loaded=("m1", "lora"))
        assert handed(base, both, task) == {"t": "both"}

    def test_a_lora_without_its_base_model_is_worth_nothing(self) -> None:
        task = waiting("t", models=("m1", "lora"))
        assert handed(idle("a", since=1), idle("b", since=9, loaded=("lora",)), task) == {"t": "a"}

    def test_a_task_close_behind_may_pass_to_meet_its_model(self) -> None:
        parts = (
            waiting("cold", since=9, models=("m1",)),
            waiting("warm", since=8, models=("m2",), seconds=20.0),
        )
        picks = pick(snapshot(*parts, idle("a", loaded=("m2",))))
        assert [(a.task, a.overtook) for a in picks.assignments] == [("warm", ("cold",))]
        assert picks.overtaken == {"cold": 1}

    def test_but_not_one_that_was_passed_often_enough(self) -> None:
        parts = (
            waiting("cold", since=9, models=("m1",)),
            waiting("warm", since=8, models=("m2",), seconds=20.0),
        )
        instance = idle("a", loaded=("m2",))
        assert handed(*parts, instance, overtaken={"cold": MAX_OVERTAKEN - 1}) == {"warm": "a"}
        assert handed(*parts, instance, overtaken={"cold": MAX_OVERTAKEN}) == {"cold": "a"}

    def test_nor_one_that_was_put_much_earlier(self) -> None:
        warm = waiting("warm", since=8, models=("m2",), seconds=20.0)
        instance = idle("a", loaded=("m2",))
        assert handed(waiting("cold", since=7 + MAX_LEAD, models=("m1",)), warm, instance) == {"warm": "a"}
        assert handed(waiting("cold", since=9 + MAX_LEAD, models=("m1",)), warm, instance) == {"cold": "a"}

    @pytest.mark.parametrize(("seconds", "first"), [(20.0, "warm"), (3_600.0, "cold"), (None, "cold")])
    def test_a_long_training_passes_nobody(self, seconds: float | None, first: str) -> None:
        warm = waiting("warm", since=8, models=("m2",), seconds=seconds)
        parts = (waiting("cold", since=9, models=("m1",)), warm, idle("a", loaded=("m2",)))
        assert handed(*parts) == {first: "a"}

    def test_nor_does_a_task_of_lower_priority(self) -> None:
        cold = waiting("cold", since=9, models=("m1",), priority=1)
        warm = waiting("warm", since=8, models=("m2",), seconds=20.0)
        assert handed(cold, warm, idle("a", loaded=("m2",))) == {"cold": "a"}

    @pytest.mark.parametrize(
        ("used", "first"), [(MAX_SHARE_AHEAD - 1, "warm"), (MAX_SHARE_AHEAD + 1, "cold")]
    )
    def test_nor_one_of_a_user_who_has_had_more(self, used: float, first: str) -> None:
        parts = (
            waiting("cold", "bob", since=9, models=("m1",)),
            waiting("warm", "ana", since=8, models=("m2",), seconds=20.0),
            idle("a", loaded=("m2",)),
        )
        (made,) = pick(snapshot(*parts, usage={"ana": used})).assignments
        assert made.task == first

    def test_nor_one_far_behind(self) -> None:
        line = [waiting(f"c{n}", since=90 - n, models=("m1",)) for n in range(LOOK_AHEAD)]
        warm = waiting("warm", since=8, models=("m2",), seconds=20.0)
        assert handed(*line[1:], warm, idle("a", loaded=("m2",))) == {"warm": "a"}
        assert handed(*line, warm, idle("a", loaded=("m2",))) == {"c0": "a"}

    def test_a_model_that_many_wait_for_is_loaded_first(self) -> None:
        parts = (
            waiting("here", since=9, models=("m1",), seconds=20.0),
            waiting("rare", since=8, models=("m2",), seconds=20.0),
            waiting("many1", since=7, models=("m3",), seconds=20.0),
            waiting("many2", since=6, models=("m3",), seconds=20.0),
        )
        assert handed(*parts, busy("b", loaded=("m1",)), idle("a")) == {"many1": "a"}

    def test_alone_it_does_not_wait_for_the_instance_that_has_its_model(self) -> None:
        task = waiting("t", models=("m1",))
        assert handed(task, busy("b", loaded=("m1",)), idle("a")) == {"t": "a"}

    def test_everybody_that_is_passed_is_counted_not_only_the_first(self) -> None:
        cold = [waiting(f"c{n}", since=20 - n, models=("m1",)) for n in range(3)]
        warm = waiting("warm", since=8, models=("m2",), seconds=20.0)
        picks = pick(snapshot(*cold, warm, idle("a", loaded=("m2",))))
        assert picks.overtaken == {"c0": 1, "c1": 1, "c2": 1}


class TestWaitingForTheModel:
    """Loading a model takes 10 s here: what is free within 30 s is waited for, up to 50 s from the put."""

    def given(
        self, *parts: WaitingTask | InstanceView, loading: float | None = 10.0, passed: int = 0
    ) -> dict[str, str]:
        return {
            a.task: a.instance for a in pick(snapshot(*parts, loading=loading), {"t": passed}).assignments
        }

    def test_the_busy_instance_that_has_it_is_waited_for_where_that_is_worth_it(self) -> None:
        task, other = waiting("t", models=("m1",), seconds=20.0), idle("cold", loaded=("m2",))
        soon = busy("warm", running("r", left=25.0), loaded=("m1",))
        assert self.given(task, other, soon) == {}
        assert self.given(task, other, busy("warm", running("r", left=35.0), loaded=("m1",))) == {"t": "cold"}
        assert self.given(task, other, busy("warm", running("r", left=None), loaded=("m1",))) == {"t": "cold"}
        assert self.given(task, other, busy("warm", loaded=("m1",), draining=True)) == {"t": "cold"}

    def test_nobody_waits_where_nobody_knows_how_long_loading_takes(self) -> None:
        task, soon = waiting("t", models=("m1",), seconds=20.0), busy("warm", loaded=("m1",))
        assert self.given(task, idle("cold"), soon, loading=None) == {"t": "cold"}

    def test_nobody_waits_for_ever_or_is_passed_beyond_the_bound(self) -> None:
        soon = busy("warm", loaded=("m1",))
        old = waiting("t", since=51.0, models=("m1",), seconds=20.0)
        assert self.given(old, idle("cold"), soon) == {"t": "cold"}
        passed = waiting("t", models=("m1",), seconds=20.0)
        assert self.given(passed, idle("cold"), soon, passed=MAX_OVERTAKEN) == {"t": "cold"}

    def test_the_line_before_one_instance_is_counted(self) -> None:
        line = [waiting(name, models=("m1",), seconds=20.0) for name in "tu"]
        assert self.given(*line, idle("cold"), busy("warm", loaded=("m1",))) == {"u": "cold"}

    def test_others_pass_meanwhile_and_that_counts(self) -> None:
        task, other = waiting("t", models=("m1",), seconds=20.0), waiting("o", since=5.0, models=("m2",))
        picks = pick(
            snapshot(task, other, idle("a", loaded=("m2",)), busy("w", loaded=("m1",)), loading=10.0)
        )
        assert [a.task for a in picks.assignments] == ["o"] and picks.overtaken == {"t": 1}

    def test_a_model_replaces_nothing_then_what_others_have_then_the_oldest(self) -> None:
        task = waiting("t", models=("new",), seconds=20.0)
        twice = (idle("a", since=1, loaded=("m1",)), idle("b", since=2, loaded=("m1",)))
        once = (idle("c", since=3, loaded=("m2",)), idle("d", since=9, loaded=("m3",)))
        assert self.given(task, *twice, *once, idle("e", since=4)) == {"t": "e"}
        assert self.given(task, *twice, *once) == {"t": "b"}
        assert self.given(task, *once) == {"t": "d"}


class TestCommandsAmongQueries:
    def test_queries_may_pass_a_command_that_no_instance_is_free_for(self) -> None:
        command, query = waiting("c", since=9), waiting("q", since=8, kind="query")
        picks = pick(snapshot(command, query, slot_holder("a", 1)))
        assert [a.task for a in picks.assignments] == ["q"]
        assert picks.overtaken == {"c": 1}

    def test_but_not_for_ever(self) -> None:
        command, query = waiting("c", since=9), waiting("q", since=8, kind="query")
        before = {"c": MAX_OVERTAKEN}
        assert handed(command, query, slot_holder("a", 1), overtaken=before) == {}
        # Only one instance is kept free for it, the one with fewest queries.
        found = handed(command, query, slot_holder("a", 1), slot_holder("b", 2), overtaken=before)
        assert found == {"q": "b"}

    def test_the_instance_that_came_free_is_the_commands(self) -> None:
        command, query = waiting("c", since=9), waiting("q", since=8, kind="query")
        assert handed(command, query, idle("a", slots=4), overtaken={"c": MAX_OVERTAKEN}) == {"c": "a"}


def test_the_memory_of_passing_outlives_a_restart() -> None:
    parts = (waiting("cold", since=9, models=("m1",)), waiting("warm", since=8, models=("m2",), seconds=20.0))
    seen = snapshot(*parts, idle("a", loaded=("m2",)))
    before = Memory(overtaken={"cold": MAX_OVERTAKEN})
    result = plan(seen, Memory.from_json(before.to_json()))
    assert [a.task for a in result.assignments] == ["cold"]


def test_what_no_longer_waits_is_forgotten() -> None:
    assert pick(snapshot(waiting("t")), {"gone": 3, "t": 2}).overtaken == {"t": 2}
