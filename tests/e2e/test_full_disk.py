"""A disk that is nearly full: no task is begun, everybody is told, and what may go goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import ROOT, Box, until


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    running = Box(tmp_path_factory.mktemp("full") / "data").start(
        LORAPOOL_LEAST_FREE_GB="1000000", LORAPOOL_RETENTION=""
    )
    try:
        yield running
    finally:
        running.stop()


def test_no_task_is_begun_and_the_reason_is_said(box: Box) -> None:
    with box.client() as client:
        task = client.service("kohya_job").submit(command="echo begun", id="held")

        def said() -> str:
            return " ".join(instance.reason for instance in client.instances())

        until(lambda: "less than the 1e+06 GB that are to stay free" in said(), "the instance says why")
        time.sleep(1.0)  # as long as a task takes that is begun
        assert task.state == "waiting"
    text = (box.data_dir / "logs" / "supervisor.log").read_text()
    assert "no task is begun below" in text


def lorapool(box: Box, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "backend.cli", *words, "--data-dir", str(box.data_dir)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def old(file: Path, size: int, days: float) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    at = time.time() - days * 86_400
    os.utime(file, (at, at))
    return file


def test_clean_removes_what_is_too_old_and_never_a_lora(box: Box) -> None:
    jobs = box.data_dir / "jobs"
    state = old(jobs / "past" / "output" / "cat-state" / "model.safetensors", 1000, 40)
    picture = old(jobs / "past" / "output" / "sample" / "a.png", 500, 40)
    drawn = old(box.data_dir / "outputs" / "query" / "0.png", 500, 40)
    fresh = old(jobs / "past" / "output" / "sample" / "b.png", 500, 10)
    lora = old(jobs / "past" / "output" / "cat.safetensors", 100, 400)
    published = old(box.data_dir / "loras" / "cat.safetensors", 100, 400)
    data = old(box.data_dir / "datasets" / "cats" / "1.png", 100, 400)
    # a task that has not ended keeps everything, however old that is
    held = old(jobs / "held" / "output" / "sample" / "c.png", 500, 400)
    keep = ("--keep", "pictures=30d states=30d logs=30d jobs=30d")
    # when it is only asked what would go
    would = json.loads(lorapool(box, "clean", "--dry-run", "--json", *keep))
    assert {each["kind"]: each["count"] for each in would} == {"pictures": 2, "states": 1}
    assert state.exists() and picture.exists()
    # then that goes, and nothing else
    assert "pictures" in lorapool(box, "clean", *keep)
    assert not state.parent.exists() and not picture.exists() and not drawn.parent.exists()
    assert all(file.exists() for file in (fresh, lora, published, data, held))


def test_what_would_be_kept_has_to_be_said(box: Box) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backend.cli", "clean", "--data-dir", str(box.data_dir)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "LORAPOOL_RETENTION"},
    )
    assert done.returncode == 2 and "--keep" in done.stderr
