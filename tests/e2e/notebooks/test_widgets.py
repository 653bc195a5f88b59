"""The widgets against a real deployment, without a browser: what is typed, clicked and shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.notebook import Generate, Pool, PoolMonitor, TaskMonitor, TrainingForm
from backend.errors import InvalidArgument
from tests.support.box import PATIENCE, Box, at_step, until


@pytest.fixture(scope="module")
def pool(box: Box) -> Iterator[Pool]:
    joined = Pool.start(box.data_dir)
    yield joined
    joined.stop()


def test_a_form_says_what_is_wrong_at_the_field_and_queues_nothing(pool: Pool) -> None:
    # Given a form with two mistakes in it
    form = TrainingForm(pool, max_train_steps=20, train_data_dir="datasets/nowhere")
    form.rows["learning_rate"].typed("fast")
    # Then each is said where it is
    assert form.problems["train_data_dir"].startswith("there is no datasets/nowhere in the data folder")
    assert "'fast' is not a number" in form.problems["learning_rate"]
    # And neither the button nor a call queues it
    before = len(pool.tasks())
    form.click()
    assert form.task is None
    with pytest.raises(InvalidArgument):
        form.start()
    assert len(pool.tasks()) == before
    # When both are mended
    form.set(train_data_dir="datasets/moonlight", learning_rate=1e-3)
    # Then it could be started
    assert form.check() and "train_data_dir" not in form.problems
    with pytest.raises(InvalidArgument, match="no_such_field"):
        TrainingForm(pool, no_such_field=1)


def test_a_task_is_followed_by_every_monitor_and_stopped_by_one(pool: Pool) -> None:
    # Given a training that was started with the button
    form = TrainingForm(pool, max_train_steps=400, sample_every_n_steps=10)
    form.click()
    assert form.task is not None and form.monitor is not None
    at_step(form.task, 3)
    until(lambda: form.monitor is not None and form.monitor.points > 2, "points of the curve")
    # When the cell is run again: the same task, a new monitor
    again = TaskMonitor(form.task.id, pool)
    # Then it shows at once what the first one knows, and goes on
    assert again.points > 2 and again.lines
    seen = again.points
    until(lambda: again.points > seen, "more points of the curve")
    # When one of them stops the task
    again.stop()
    # Then both say so, and nobody follows any longer
    assert again.wait(PATIENCE) == "cancelled"
    assert form.monitor.wait(PATIENCE) == "cancelled"
    assert again.lines == form.monitor.lines


def test_a_query_that_cannot_be_is_refused_before_it_is_queued(pool: Pool) -> None:
    generate = Generate(pool, "a yellow star", steps="many")
    before = len(pool.tasks())
    with pytest.raises(InvalidArgument, match="'many' is not a number"):
        generate.generate()
    assert len(pool.tasks()) == before


def test_the_newest_pool_monitor_is_the_live_one(pool: Pool) -> None:
    first = PoolMonitor(pool)
    second = PoolMonitor(pool)
    assert first.closed and not second.closed
    assert "kohya_job" in second.text("services")
    second.close()
