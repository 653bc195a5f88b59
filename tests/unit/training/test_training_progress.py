from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.records import Failed, Phase, Progress, Record, Result, decode
from backend.training.progress import Reporter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def _read(descriptor: int) -> list[Record]:
    return [record for line in os.read(descriptor, 1 << 20).splitlines() if (record := decode(line))]


def _walk(reporter: Reporter, clock: Clock, seconds: float, steps: int) -> None:
    reporter.start_steps()
    for step in range(1, steps + 1):
        clock.now += seconds
        progress = Progress(step, steps, 1, 1, 0.5, 0.001)
        reporter.step(progress, average=0.5, always=step in (1, steps))


def test_fast_steps_are_thinned_to_20_records_and_3_lines_a_second(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    _walk(Reporter(pipe[1], clock=clock), clock, 0.001, 5000)
    records = _read(pipe[0])
    assert 90 <= len(records) <= 102
    assert [records[0].step, records[-1].step] == [1, 5000]  # type: ignore[union-attr]
    assert 10 <= len(capsys.readouterr().out.splitlines()) <= 18


def test_slow_steps_are_all_said(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    _walk(Reporter(pipe[1], clock=clock), clock, 0.5, 4)
    assert _read(pipe[0])[-1] == Progress(4, 4, 1, 1, 0.5, 0.001, 0.5, 0.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "step 2/4  epoch 1/1  loss 0.5000 (average 0.5000)  lr 0.001  0.5 s/step  ETA 0:01"
    assert len(lines) == 4


def test_the_other_records(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(pipe[1])
    reporter.phase("saving")
    reporter.failed("no")
    reporter.result(Path("/a"), 3)
    assert _read(pipe[0]) == [Phase("saving"), Failed("no"), Result("/a", 3)]
    assert capsys.readouterr().out == "saving\n"


def test_a_reader_that_is_gone_does_not_hurt() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    reporter = Reporter(writing)
    reporter.failed("one")
    reporter.failed("two")
    os.close(writing)


def test_a_quiet_process_says_nothing(pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(pipe[1], quiet=True)
    reporter.phase("saving")
    with pytest.raises(BlockingIOError):
        os.read(pipe[0], 1)
    assert capsys.readouterr().out == ""
