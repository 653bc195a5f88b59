"""What a running task says, as it comes: lines, points of its curve, files; and reading that again.

Only the attempt that runs may speak: each word carries the number that its claim was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from backend import records
from backend.errors import StaleAttempt
from backend.records import FileWritten, Progress, Record
from backend.store.call import Call, command, script
from backend.store.keys import key

LINES_KEPT = 200_000
"""How many lines of a task's log, and points of its curve, the store keeps; the file in the job folder has all."""

OVER = "this attempt is over: the task was given to another, stopped, or has ended"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who speaks for a running task: the fencing token that goes with every word about it."""

    task: str
    attempt: int
    instance: str

    @property
    def args(self) -> tuple[str, int, str]:
        return (self.task, self.attempt, self.instance)


Refusal: TypeAlias = Literal["full", "ended", "large"]
"""Why an output queue did not take something: it is at its capacity, it was ended, or this is over its limit."""


def append(
    holder: Holder, lines: Sequence[str], said: Iterable[tuple[str, str]], *, batch: int, sink: str = ""
) -> Call[int | Refusal]:
    """Add lines to the log and records to the task; `sink` names the output queue that gets the lines too.

    `said` are pairs of a field (progress, file, phase, failure, output) and its text or JSON; see `spoken`.
    `batch` counts the appends of this attempt from 1: repeating the last one, whose answer was lost, adds nothing.
    The answer is the number of lines so far, or why the sink took none; nothing was added then. Reading it raises
    StaleAttempt when the attempt is over.
    """
    pairs = [part for pair in said for part in pair]
    call = script("append", *holder.args, batch, sink, LINES_KEPT, len(lines), *lines, *pairs)
    return call.then(_read_append)


def _read_append(answer: list[Any]) -> int | Refusal:
    if answer[0] == b"stale":
        raise StaleAttempt(OVER)
    return int(answer[1]) if answer[0] == b"ok" else cast(Refusal, answer[1].decode())


def spoken(record: Record) -> tuple[str, str]:
    """The field that a record goes into, and its text there."""
    match record:
        case Progress():
            return "progress", records.encode(record)
        case FileWritten():
            return "file", records.encode(record)
        case records.Phase(name):
            return "phase", name
        case records.Failed(reason):
            return "failure", reason
        case records.Result(output):
            return "output", output


Line: TypeAlias = tuple[int, str]


def log(task: str, after: int = 0, *, limit: int = 1000) -> Call[list[Line]]:
    """Lines of a task's log as (number, text), numbers from 1, those behind `after`."""
    call = command("XRANGE", key("log", task), f"{after + 1}-0", "+", "COUNT", limit)
    return call.then(lambda answer: [_line(e) for e in answer])


Point: TypeAlias = tuple[int, Progress]


def scalars(task: str, after: int = 0, *, limit: int = 5000) -> Call[list[Point]]:
    """Points of a task's curve as (number, progress), numbers from 1, those behind `after`."""

    def read(answer: list[Any]) -> list[Point]:
        points = ((_entry(e), records.decode(only_field(e))) for e in answer)
        return [(number, point) for number, point in points if isinstance(point, Progress)]

    return command("XRANGE", key("scalars", task), f"{after + 1}-0", "+", "COUNT", limit).then(read)


def files(task: str, after: int = 0) -> Call[list[FileWritten]]:
    """What a task has written so far, in order, without the first `after`."""

    def read(answer: list[bytes]) -> list[FileWritten]:
        found = (records.decode(item) for item in answer)
        return [record for record in found if isinstance(record, FileWritten)]

    return command("LRANGE", key("files", task), after, -1).then(read)


def _entry(entry: Any) -> int:
    return int(entry[0].split(b"-")[0])


def _line(entry: Any) -> Line:
    return _entry(entry), only_field(entry).decode("utf-8", "replace")


def only_field(entry: Any) -> bytes:
    """The value of a stream entry with one field, whichever way the client gives fields."""
    fields = entry[1]
    value: bytes = next(iter(fields.values())) if isinstance(fields, dict) else fields[1]
    return value
