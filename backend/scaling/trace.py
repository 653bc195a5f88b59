"""Workload traces: CSV, plain or gzip-compressed, one task a line, in order of arrival.

Needed columns: `arrival_s` (seconds from any start) and `service_s` (seconds it ran). Columns that say what kind of
work it was (`base_model`, `steps`, `images`) become the key by which run times are estimated. Others are ignored.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidInput

KEY_COLUMNS = ("base_model", "steps", "images")


@dataclass(frozen=True, slots=True)
class TraceTask:
    """One task of a trace: when it came, how long it ran (seconds), and what kind of work it was."""

    arrival: float
    service: float
    key: tuple[str, ...] = ()


class BadTrace(InvalidInput):
    """A trace cannot be read; nothing was replayed."""


def read_trace(path: Path) -> list[TraceTask]:
    """Read a trace file. Raises BadTrace with the line at fault."""
    tasks = list(_rows(path, csv.DictReader(io.StringIO(_text(path)))))
    if not tasks:
        raise BadTrace(
            f"{path} has no tasks. Nothing was replayed; give a file with at least one line of data."
        )
    return tasks


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BadTrace(
            f"{path} cannot be read as a trace: {error}. Nothing was replayed; give a CSV file in UTF-8, "
            "plain or compressed with gzip."
        ) from error


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[TraceTask]:
    columns = reader.fieldnames or ()
    missing = [name for name in ("arrival_s", "service_s") if name not in columns]
    if missing:
        raise BadTrace(
            f"{path} has no column {' and '.join(missing)} (it has: {', '.join(columns) or 'none'}). "
            "Nothing was replayed; name the columns in the first line."
        )
    key = [name for name in KEY_COLUMNS if name in columns]
    last = -math.inf
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        arrival = _number(where, row, "arrival_s")
        service = _number(where, row, "service_s")
        if arrival < last:
            raise BadTrace(
                f"{where}: arrival_s {arrival:g} is before the line above. Sort the file by arrival_s."
            )
        if service <= 0:
            raise BadTrace(f"{where}: service_s must be more than 0. Nothing was replayed.")
        last = arrival
        yield TraceTask(arrival, service, tuple(f"{name}={row[name]}" for name in key))


def _number(where: str, row: Mapping[str, str | None], column: str) -> float:
    value = row[column]
    try:
        number = float(value or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadTrace(f"{where}: {column} is {value!r}, not a number of seconds. Nothing was replayed.")
    return number
