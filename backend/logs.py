"""How the processes of a deployment say what they do: lines for people, or JSON for collectors (`LORAPOOL_LOG_FORMAT`).

    2026-11-22 05:00:00,123 supervisor INFO service kohya_job: …
    {"at": "2026-11-22T05:00:00.123+00:00", "level": "info", "process": "supervisor", "message": "…",
     "service": "kohya_job", "instance": "3f…", "task": "…"}

A line has the ids of the process (an instance's own), those of the task that its thread is at (`about`), and those
that it was given with `extra=`.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import IO, Literal

Format = Literal["text", "json"]
IDS = ("service", "instance", "task", "user", "attempt")

_about: contextvars.ContextVar[Mapping[str, str | int]] = contextvars.ContextVar("about", default={})  # noqa: B039


def configure(process: str, form: Format, *, stream: IO[str] | None = None, **ids: str) -> None:
    """Have every logger of this process write in that form; `ids` stand on each of its lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(process, ids) if form == "json" else _lines_for_people(process))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # A front end asks the gateway all the time, and each request would be a line.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _lines_for_people(process: str) -> logging.Formatter:
    return logging.Formatter(f"%(asctime)s {process} %(levelname)s %(message)s")


def configure_from_environment(process: str) -> None:
    """The same for a process that reads no settings of a deployment: a front end, a command."""
    configure(process, "json" if _wants_json() else "text")


def line(process: str, text: str) -> str:
    """One line for who is told by printing: as it is for people, or as JSON."""
    if not _wants_json():
        return f"{process}: {text}"
    record = logging.LogRecord("lorapool", logging.INFO, "", 0, text, None, None)
    return JsonLines(process, {}).format(record)


def _wants_json() -> bool:
    return os.environ.get("LORAPOOL_LOG_FORMAT", "") == "json"


@contextlib.contextmanager
def about(**ids: str | int) -> Iterator[None]:
    """What this thread says in the meantime is about these."""
    token = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(token)


class JsonLines(logging.Formatter):
    """One JSON object for each record, on one line."""

    def __init__(self, process: str, ids: Mapping[str, str]) -> None:
        super().__init__()
        self._process = process
        self._ids = ids

    def format(self, record: logging.LogRecord) -> str:
        """The line: when, how bad, which process, what; then the ids, and the traceback where there is one."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            **self._ids,
            **_about.get(),
        }
        line |= {name: getattr(record, name) for name in IDS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
