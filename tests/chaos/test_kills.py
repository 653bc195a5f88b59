"""kill -9 of each process in the middle of a training: nothing accepted is lost, nothing runs on, the task ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.box import PATIENCE, Box, at_step, training, until


@pytest.mark.parametrize("victim", ["gateway", "supervisor", "store", "instance", "run"])
def test_a_training_survives_the_death_of(box: Box, victim: str) -> None:
    # given a training in its middle, and another one that waits behind it
    with box.client() as client:
        service = client.service("kohya_job")
        task = service.submit(argv=training(box, name=f"survives-{victim}"), name=f"survives {victim}")
        behind = service.submit(command="echo I waited")
        at_step(task, 5)
        run = psutil.Process(box.pid("run"))
        dead = box.pid(victim)
        # when one process is killed
        os.kill(dead, signal.SIGKILL)
        # then both tasks end well
        view = task.wait(PATIENCE)
        assert (view.state, view.reason) == ("succeeded", "")
        assert Path(view.output).stat().st_size > 1000
        assert behind.wait(PATIENCE).state == "succeeded"
        # and what ran before is gone or is what ended well; nothing trains on
        assert not run.is_running() or run.status() == psutil.STATUS_ZOMBIE
        # and the attempts tell what happened
        if victim in ("instance", "run"):
            first, second = view.attempts
            assert first.outcome == "returned"
            assert first.reason
            assert second.outcome == "succeeded"
        else:
            assert [attempt.outcome for attempt in view.attempts] == ["succeeded"]
        # and the log has every line once, in order
        numbers = [number for number, _ in task.log(limit=10_000).lines]
        assert numbers == list(range(1, view.log_lines + 1))
        until(lambda: client.info().version != "", "the gateway answers again")


def test_a_run_that_is_killed_every_time_is_given_up_with_the_reason(box: Box) -> None:
    with box.client() as client:
        task = client.service("kohya_job").submit(command="kill -9 $$")
        view = task.wait(PATIENCE)
    assert view.state == "dead"
    assert len(view.attempts) == 3
    assert "given up after 3 attempts" in view.reason
    assert "SIGKILL" in view.reason


def test_everything_accepted_is_there_after_the_store_and_the_gateway_died(box: Box) -> None:
    with box.client() as client:
        service = client.service("kohya_job")
        accepted = [service.submit(command=f"echo {n}").id for n in range(10)]
        os.kill(box.pid("store"), signal.SIGKILL)
        os.kill(box.pid("gateway"), signal.SIGKILL)
        accepted += [service.submit(command=f"echo {n}").id for n in range(10, 20)]
        for n, task_id in enumerate(accepted):
            task = client.task(task_id)
            assert task.wait(PATIENCE).state == "succeeded"
            assert list(task.logs()) == [str(n)]


def test_an_instance_that_stood_still_past_its_lease_changes_nothing(box: Box) -> None:
    with box.client() as client:
        task = client.service("kohya_job").submit(command="sleep 1; echo from $LORAPOOL_TASK_ID")
        until(lambda: task.state == "running", "it runs")
        stopped = box.pid("instance")
        os.kill(stopped, signal.SIGSTOP)
        try:
            view = task.wait(PATIENCE)
        finally:
            if psutil.pid_exists(stopped):
                os.kill(stopped, signal.SIGCONT)
        assert view.state == "succeeded"
        assert [attempt.outcome for attempt in view.attempts] == ["returned", "succeeded"]
        until(lambda: stopped not in box.processes(), "the instance that stood still is gone")
        assert task.view() == view
