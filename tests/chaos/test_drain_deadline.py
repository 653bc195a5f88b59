"""A drain that takes too long: the training saves its state, goes back to the queue, and goes on from there later."""

from __future__ import annotations

from pathlib import Path

from tests.support.box import PATIENCE, Box, at_step, training, until

STEPS = 300


def test_a_training_saves_its_state_and_goes_back_to_the_queue(tmp_path: Path) -> None:
    box = Box(tmp_path / "data").start(LORAPOOL_DRAIN_DEADLINE="0.5")
    try:
        with box.client() as client:
            # given a training in its middle
            def scale(most: int) -> None:
                metadata = {"name": "drained", "type": "ScalableJob"}
                client.create_service({"metadata": metadata, "autoscaler": {"min": 0, "max": most}})

            scale(1)
            task = client.service("drained").submit(argv=training(box, steps=STEPS))
            step = at_step(task, 5).progress
            # when its instance is not wanted any more, and has drained for longer than it may
            scale(0)
            until(lambda: task.state == "waiting", "it goes back")
            view = task.view()
            # then that was no fault of its own
            assert view.attempts[0].outcome == "returned"
            until(lambda: client.instances("drained") == [], "the instance is gone")
            # and when there may be one again, it goes on from the state that it had saved
            scale(1)
            done = task.wait(PATIENCE)
            assert (done.state, len(done.attempts)) == ("succeeded", 2), done
            assert done.progress is not None and step is not None
            assert done.progress.step == STEPS
            assert any("from its last saved state" in line for line in task.logs())
    finally:
        box.stop()
    until(lambda: not box.processes(), "no process is left", 10.0)
