"""What a supervisor learns of one service."""

from __future__ import annotations

import json
from dataclasses import replace

from backend.pool.learnt import Learnt
from backend.records import Progress
from backend.store.briefs import Brief
from backend.task import TaskState

NOW = 10_000.0
TASK = Brief(
    id="t",
    state=TaskState.RUNNING,
    kind="command",
    index=1,
    created_at=NOW - 100,
    user="ana",
    priority=0,
    instance="i",
    attempt=1,
    started_at=NOW - 60,
    assigned_at=NOW - 61,
    progress=None,
    details={},
)


def test_nothing_is_known_at_first() -> None:
    learnt = Learnt({})
    assert learnt.expected(TASK) is None
    assert learnt.remaining(TASK, NOW) is None


def test_steps_times_the_usual_step() -> None:
    learnt = Learnt({})
    learnt.ended(replace(TASK, progress=Progress(5, 5, seconds_per_step=0.25)), NOW, whole=False)
    assert learnt.expected(replace(TASK, details={"steps": 400})) == 100.0


def test_a_short_training_takes_what_goes_with_its_steps_too() -> None:
    learnt = Learnt({})
    ran = replace(TASK, progress=Progress(40, 40, seconds_per_step=0.25), details={"steps": 40})
    learnt.ended(replace(ran, started_at=NOW - 22), NOW, whole=True)
    learnt.ended(replace(ran, started_at=NOW - 3), NOW, whole=False)
    assert learnt.expected(replace(TASK, details={"steps": 400})) == 112.0
    assert learnt.remaining(replace(TASK, details={"steps": 400}), NOW) == 52.0


def test_what_a_run_says_of_itself_counts_most() -> None:
    learnt = Learnt({})
    running = replace(TASK, progress=Progress(5, 10, eta=7.5), details={"steps": 400})
    assert learnt.remaining(running, NOW) == 7.5
    assert learnt.remaining(replace(running, progress=Progress(5, 10, eta=-1.0)), NOW) == 0.0


def test_without_its_word_what_is_usual_less_what_it_has_run() -> None:
    learnt = Learnt({})
    for _ in range(3):
        learnt.ended(replace(TASK, started_at=NOW - 90), NOW, whole=True)
    assert learnt.expected(TASK) == 90.0
    assert learnt.remaining(TASK, NOW) == 30.0


def test_tasks_of_one_model_are_compared_with_each_other() -> None:
    learnt = Learnt({})
    small, large = replace(TASK, details={"model": "sd15"}), replace(TASK, details={"model": "sdxl"})
    for _ in range(3):
        learnt.ended(replace(small, started_at=NOW - 10), NOW, whole=True)
        learnt.ended(replace(large, started_at=NOW - 1000), NOW, whole=True)
    assert (learnt.expected(small), learnt.expected(large)) == (10.0, 1000.0)


def test_a_task_that_never_ran_teaches_nothing() -> None:
    learnt = Learnt({})
    learnt.ended(replace(TASK, started_at=None), NOW, whole=True)
    assert learnt.to_json() == Learnt({"usage": {"seconds": {}, "at": learnt.usage.at}}).to_json()


def test_it_survives_as_json() -> None:
    learnt = Learnt({})
    ran = replace(TASK, progress=Progress(5, 5, seconds_per_step=0.25), details={"steps": 5})
    learnt.ended(ran, NOW, whole=True)
    learnt.cold_starts.add(3.5)
    text = json.dumps(learnt.to_json())
    assert Learnt(json.loads(text)).to_json() == learnt.to_json()


def test_a_query_is_charged_its_part_of_an_instance() -> None:
    learnt = Learnt({})
    learnt.ended(replace(TASK, kind="query"), NOW, whole=True, slots=5)
    learnt.ended(replace(TASK, user="ben"), NOW, whole=True, slots=5)
    assert learnt.usage.seconds == {"ana": 12.0, "ben": 60.0}
    # how long such take is another matter
    assert learnt.expected(replace(TASK, kind="query")) == 60.0
