"""Loss and rate of each step, from an event file that grows while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from backend.records import Progress, Record
from backend.worker.event_file import EventFile, Values
from backend.worker.kohya_console import KohyaConsole
from tests.unit.worker.test_kohya_console import bars

_OPEN: list[BinaryIO] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


class Writer:
    """Writes as sd-scripts does: every value of a step an event of its own."""

    def __init__(self, logs: Path, stamp: str = "20261122013013") -> None:
        folder = logs / stamp / "network_train"
        folder.mkdir(parents=True)
        self.path = folder / "events.out.tfevents.1795311036.box.1.0"
        self._file = self.path.open("wb")
        _OPEN.append(self._file)
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()

    def step(self, step: int, **values: float) -> None:
        for tag, value in values.items():
            event = Event(step=step)
            event.summary.value.add(tag=tag.replace("__", "/"), simple_value=value)
            self._write(event)


def test_what_was_written_for_a_step_is_found_as_soon_as_it_is_there(tmp_path: Path) -> None:
    curve = EventFile(tmp_path)
    assert curve.values(1) is None
    writer = Writer(tmp_path)
    writer.step(1, loss__current=0.5, loss__average=0.9, lr__textencoder=0.125, lr__unet=0.25)
    assert curve.values(1) == Values(0.5, 0.25)
    assert curve.values(2) is None
    writer.step(2, loss__current=0.75, lr__textencoder=0.125)
    assert curve.values(2) == Values(0.75, 0.125)
    # a value of an epoch, or of the validation, is none of a step
    writer.step(3, loss__epoch_average=0.1)
    assert curve.values(3) is None


def test_half_a_record_waits_for_its_other_half(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.step(1, loss__current=0.5)
    whole = writer.path.read_bytes()
    writer.path.unlink()
    curve = EventFile(tmp_path)
    for size in range(len(whole)):
        writer.path.write_bytes(whole[:size])
        assert curve.values(1) is None
    writer.path.write_bytes(whole)
    assert curve.values(1) == Values(0.5, None)


def test_the_file_of_an_earlier_attempt_is_not_read(tmp_path: Path) -> None:
    Writer(tmp_path).step(1, loss__current=0.5)
    curve = EventFile(tmp_path)
    assert curve.values(1) is None
    Writer(tmp_path, "20261122013500").step(1, loss__current=0.25)
    assert curve.values(1) == Values(0.25, None)


def test_what_is_no_event_file_gives_nothing(tmp_path: Path) -> None:
    curve = EventFile(tmp_path)
    writer = Writer(tmp_path)
    writer.path.write_bytes(b"\xff" * 4000)
    assert curve.values(1) is None


def told(console: KohyaConsole, text: str) -> list[Progress]:
    records: list[Record] = console.feed(text.encode())[1]
    return [record for record in records if isinstance(record, Progress)]


def test_each_step_is_told_once_with_its_own_loss_and_rate(tmp_path: Path) -> None:
    console = KohyaConsole(curve=EventFile(tmp_path))
    writer = Writer(tmp_path)
    drawn = bars((1, "0.5"), (2, "0.4"), (3, "0.3")).split("\r")[1:]
    assert [p.step for p in told(console, "\r" + drawn[0])] == [0]
    found = []
    for number, (first, second) in enumerate(zip(drawn[1::2], drawn[2::2], strict=True), start=1):
        # sd-scripts draws a step, saves and paints, draws it again with its loss, and writes it down
        found += told(console, f"\r{first}\nsaving state at step {number}\n\r{second}")
        writer.step(number, loss__current=number + 0.25, lr__unet=number / 8)
    assert [(p.step, p.loss, p.lr) for p in found] == [(1, 1.25, 0.125), (2, 2.25, 0.25)]
    last = told(console, "\nsaving checkpoint: /o/a.safetensors\nmodel saved.\n")
    assert [(p.step, p.loss, p.lr) for p in last] == [(3, 3.25, 0.375)]


def test_without_values_in_the_file_the_console_counts(tmp_path: Path) -> None:
    console = KohyaConsole(curve=EventFile(tmp_path))
    found = [*told(console, bars((1, "0.5"), (2, "0.4"))), *told(console, "\nmodel saved.\n")]
    assert [(p.step, p.loss) for p in found] == [(0, None), (1, 0.5), (2, 0.4)]


HEAD = (
    "  num batches per epoch / 1epochのバッチ数: {}\n"
    "  gradient accumulation steps / 勾配を合計するステップ数 = {}\n"
    "  total optimization steps / 学習ステップ数: {}\n"
)


def test_after_a_resume_in_an_epoch_its_values_stand_at_steps_of_that_epoch(tmp_path: Path) -> None:
    # given 10 of 18 steps, epochs of 6: sd-scripts skips the first epoch and counts from 4
    console = KohyaConsole(first_step=10, curve=EventFile(tmp_path))
    writer = Writer(tmp_path)
    found = told(console, HEAD.format(6, 1, 18) + "skipping 10 steps\n" + bars((1, "0.5"), total=14))
    writer.step(5, loss__current=0.0625)
    found += told(console, "\nmodel saved.\n")
    assert [(p.step, p.total, p.loss) for p in found] == [(10, 18, None), (11, 18, 0.0625)]


def test_accumulating_gradients_it_does_the_epoch_again_and_its_steps_are_counted_so(tmp_path: Path) -> None:
    # given 10 steps done, 2 batches each, epochs of 7 batches and so 4 steps
    console = KohyaConsole(first_step=10, mid_epoch=False, curve=EventFile(tmp_path))
    writer = Writer(tmp_path)
    found = told(console, HEAD.format(7, 2, 16) + bars((1, "0.5"), total=16))
    writer.step(0, loss__current=9.0)  # the first of the two batches, before its step
    writer.step(1, loss__current=8.0)
    found += told(console, "\nmodel saved.\n")
    assert [(p.step, p.total, p.loss) for p in found] == [(8, 16, None), (9, 16, 8.0)]
