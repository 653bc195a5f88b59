"""The loss and the learning rate of each step, from the TensorBoard file that a training is writing.

A kohya console shows three digits of a mean; the event file has the values themselves. It is read as it grows: records
of 8 bytes length (little endian), 4 bytes checksum, the message, 4 bytes checksum.
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorboard.compat.proto.event_pb2 import Event

_LOSS = "loss/current"
_RATES = ("lr/unet", "lr/textencoder", "lr/group0")
"""Tags of the rate, the one that a curve shows first."""

_LONGEST = 1 << 20
_KEPT = 64


@dataclass(frozen=True, slots=True)
class Values:
    """What is known of one step."""

    loss: float | None = None
    lr: float | None = None


class EventFile:
    """The first new event file below a logging folder; files that are there already are an earlier run's."""

    def __init__(self, logging_dir: Path) -> None:
        self._folder = logging_dir
        self._old = frozenset(self._found())
        self._path: Path | None = None
        self._offset = 0
        self._steps: dict[int, dict[str, float]] = {}

    def values(self, step: int) -> Values | None:
        """What was written for a step, as its writer counts; None when nothing was."""
        for event in self._new():
            tags = self._steps.setdefault(event.step, {})
            tags |= {value.tag: _number(value) for value in event.summary.value}
        while len(self._steps) > _KEPT:
            del self._steps[min(self._steps)]
        tags = self._steps.get(step, {})
        rate = next((tags[name] for name in _RATES if name in tags), None)
        return Values(tags.get(_LOSS), rate) if _LOSS in tags else None

    def _found(self) -> list[Path]:
        """`<logging_dir>/<prefix><stamp>/<tracker>/events…`."""
        return sorted(self._folder.glob("*/*/events.out.tfevents.*"))

    def _new(self) -> Iterator[Event]:
        """Complete records with scalars of a training step that were not read before."""
        if self._path is None:
            self._path = next((path for path in self._found() if path not in self._old), None)
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            return
        start = 0
        while len(data) - start >= 12:
            length = int.from_bytes(data[start : start + 8], "little")
            end = start + 12 + length + 4
            if length > _LONGEST or end > len(data):
                break
            if event := _event(data[start + 12 : end - 4]):
                yield event
            start = end
        self._offset += start


def _event(message: bytes) -> Event | None:
    event = Event()
    try:
        event.ParseFromString(message)
    except DecodeError:
        return None
    wanted = any(value.tag == _LOSS or value.tag in _RATES for value in event.summary.value)
    return event if wanted else None


def _number(value: object) -> float:
    """A scalar, old style or as a tensor of one element."""
    tensor = value.tensor  # type: ignore[attr-defined]
    return float(tensor.float_val[0] if tensor.float_val else value.simple_value)  # type: ignore[attr-defined]
