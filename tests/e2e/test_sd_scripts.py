"""A checkout of sd-scripts, imitated byte for byte: what it makes is taken over, and its exit code is not believed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from backend.client import TaskHandle
from backend.views import TaskView
from tests.support.box import PATIENCE, ROOT, Box, at_step, until

PRETEND = ROOT / "tests" / "support" / "pretend_sd_scripts"
CONSOLES = ROOT / "tests" / "unit" / "worker" / "data"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("sd-scripts")
    python = folder / "checkout" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(PRETEND / "train_network.py", folder / "checkout")
    shutil.copy(PRETEND / "python", python)
    shutil.copy(PRETEND / "launcher.py", python.parent)
    python.chmod(0o755)
    running = Box(folder / "data").start(SD_SCRIPTS_DIR=str(folder / "checkout"), REAL_PYTHON=sys.executable)
    try:
        yield running
    finally:
        running.stop()
    until(lambda: not running.processes(), f"no process is left: {running.processes()}", 10.0)


def start(box: Box, name: str, way: str = "", *, console: str = "simple", **environment: str) -> TaskHandle:
    """A training as the form would queue it."""
    output = box.data_dir / "jobs" / name / "output"
    output.mkdir(parents=True)
    with box.client() as client:
        return client.service("kohya_job").submit(
            argv=["accelerate", "launch", "train_network.py", "--config_file", str(output.parent / "c.toml")],
            files={"c.toml": f'output_dir = "{output}"\noutput_name = "tiny"\n'},
            environment={
                "PRETEND": way,
                "PRETEND_CONSOLE": str(CONSOLES / f"console_{console}.txt"),
                **environment,
            },
            name=name,
            id=name,
        )


def ended(box: Box, task: TaskHandle) -> TaskView:
    with box.client() as client:
        return client.task(task.id).wait(PATIENCE)


@pytest.mark.parametrize(("console", "steps"), [("simple", 10), ("rich", 12)])
def test_what_a_run_makes_is_taken_over(box: Box, console: str, steps: int) -> None:
    task = start(box, f"good-{console}", console=console)
    view = ended(box, task)
    assert (view.state, view.reason) == ("succeeded", "")
    assert view.progress is not None and (view.progress.step, view.progress.total) == (steps, steps)
    with box.client() as client:
        files = [(file.kind, file.path, file.step) for file in client.task(task.id).files()]
        points = client.task(task.id).scalars().points
    assert [kind for kind, _, _ in files] == ["checkpoint", "state", "state", "lora"]
    assert files[0] == ("checkpoint", "output/tiny-000001.safetensors", steps // 2)
    assert [point["step"] for point in points] == list(range(steps + 1))
    # and everybody may read it, although the trainer made it for its owner alone
    published = Path(view.output)
    assert published.parent == box.data_dir / "loras"
    assert published.stat().st_mode & 0o777 == 0o644
    assert (box.data_dir / "jobs" / task.id / files[0][1]).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("way", "code", "said"),
    [
        ("no-images", 0, "no pictures were found; the training folder must be the parent"),
        ("nan", 0, "the loss is not a number since step 1: the training diverged"),
        ("no-file", 0, "the training ended without writing tiny.safetensors"),
        ("infinite", 0, "tiny.safetensors holds NaN or infinite values"),
        ("no-library", 1, "the optimizer needs bitsandbytes, which is not installed there"),
    ],
)
def test_an_exit_that_lies_is_a_failure_with_the_true_reason(
    box: Box, way: str, code: int, said: str
) -> None:
    view = ended(box, start(box, f"lies-{way}", way))
    assert (view.state, view.exit_code) == ("failed", code)
    assert view.reason.startswith(said)
    assert "CalledProcessError" not in view.reason
    # and nobody takes what it left for a LoRA
    assert not list((box.data_dir / "loras").glob("*-lies-*"))


def test_a_trainer_that_is_killed_under_its_launcher_is_a_failure_that_says_so(box: Box) -> None:
    # given the real launcher of accelerate and a trainer with two workers in the middle of its steps
    task = start(box, "killed", "hang", REAL_ACCELERATE="1")
    with box.client() as client:
        log = client.task(task.id)
        until(lambda: "workers are up" in list(log.logs()), "the workers are up")
    trainer = next(p for p in run_of(box) if "train_network.py" in line(p) and "accelerate" not in line(p))
    # when the trainer is killed, as the system does when memory runs out
    trainer.kill()
    view = ended(box, task)
    # then the launcher's complaint is not taken for the reason
    assert view.state == "failed"
    assert (
        view.reason == "the trainer was killed by signal 9 (SIGKILL); the system may have run out of memory"
    )
    until(lambda: not run_of(box), "its workers are gone", 10.0)


def test_a_run_that_is_stopped_in_a_step_is_gone_with_all_its_processes_within_ten_seconds(box: Box) -> None:
    task = start(box, "stopped", "hang", console="simple")
    with box.client() as client:
        running = client.task(task.id)
        at_step(running, 2)
        until(lambda: "workers are up" in list(running.logs()), "the workers are up")
        kept = box.data_dir / "jobs" / "stopped" / "output" / "tiny-step00000002.safetensors"
        kept.write_bytes(b"a checkpoint")
        assert len(run_of(box)) >= 4, "launcher, trainer, two workers that hear no SIGTERM"
        began = time.monotonic()
        running.cancel()
        until(lambda: not run_of(box), "no process of the run is left", 10.0)
        assert time.monotonic() - began < 10.0
        view = running.wait(PATIENCE)
    assert (view.state, view.reason) == ("cancelled", "stopped on request")
    assert kept.read_bytes() == b"a checkpoint"
    assert not (box.data_dir / "loras" / "tiny-stopped.safetensors").exists()


def test_a_run_whose_instance_has_to_go_goes_on_from_its_state_and_counts_on(box: Box) -> None:
    task = start(box, "late", "late")
    with box.client() as client:
        running = client.task(task.id)
        until(lambda: "workers are up" in list(running.logs()), "it hangs after step 7")
        # when its instance is told to go
        os.kill(box.pid("instance"), signal.SIGTERM)
        view = running.wait(PATIENCE)
        steps = [point["step"] for point in running.scalars().points]
    # then another one goes on from the state of step 5, and is told so
    assert (view.state, view.reason) == ("succeeded", "")
    first, second = view.attempts
    assert (first.outcome, first.reason) == ("returned", "its instance had to leave")
    assert first.instance != second.instance
    with box.client() as client:
        opening = next(line for line in client.task(task.id).logs() if line.startswith("— attempt 2"))
    assert opening.startswith("— attempt 2 from its last saved state")
    # and its steps count on, over its own bar of 5
    assert steps == [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9, 10]
    assert view.progress is not None and (view.progress.step, view.progress.total) == (10, 10)


def run_of(box: Box) -> list[psutil.Process]:
    """The launcher of the run, the trainer and its workers: whatever has the variables of a pretended run."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("LORAPOOL_DATA_DIR") == str(box.data_dir)
            if mine and "PRETEND_CONSOLE" in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
