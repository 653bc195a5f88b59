"""An instance that is told to go: its training saves, goes back to the queue, and goes on elsewhere where it was."""

from __future__ import annotations

import os
import signal

from tests.support.box import PATIENCE, Box, at_step, training

STEPS = 60


def test_a_training_goes_on_elsewhere_at_the_step_where_it_was(box: Box) -> None:
    with box.client() as client:
        # given a training in its middle
        task = client.service("kohya_job").submit(argv=training(box, steps=STEPS, name="moving"))
        at_step(task, 10)
        # when its instance is told to go
        os.kill(box.pid("instance"), signal.SIGTERM)
        view = task.wait(PATIENCE)
        points = [point["step"] for point in task.scalars().points]
        log = list(task.logs())
    # then it saved first, and another instance did the rest
    assert (view.state, view.reason) == ("succeeded", "")
    first, second = view.attempts
    assert (first.outcome, first.reason) == ("returned", "its instance had to leave, state saved")
    assert first.instance != second.instance
    # and no step was lost or done twice
    assert view.progress is not None and (view.progress.step, view.progress.total) == (STEPS, STEPS)
    [saved] = [int(line.rpartition(" ")[2]) for line in log if line.startswith("resuming after step ")]
    assert saved >= 10
    assert points == sorted(points), "no step is told again"
