"""Lines of logs: for people, or one JSON object each, with the ids of what they are about."""

from __future__ import annotations

import io
import json
import logging
import threading
from typing import Any

import pytest

from backend import logs


def logger(form: logs.Format, **ids: str) -> tuple[logging.Logger, io.StringIO]:
    """A logger of its own that writes as a process of that form would."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    formatter = logs.JsonLines("instance", ids) if form == "json" else logs._lines_for_people("instance")
    handler.setFormatter(formatter)
    made = logging.Logger("lorapool.test")
    made.addHandler(handler)
    return made, stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_line_has_the_ids_of_its_process_and_of_the_task_at_hand() -> None:
    log, stream = logger("json", service="kohya_job", instance="i1")
    log.info("before")
    with logs.about(task="t1", attempt=2):
        log.warning("in it: %d", 3)
    log.info("after", extra={"task": "t2"})
    before, within, after = lines(stream)
    assert (before["service"], before["instance"], "task" in before) == ("kohya_job", "i1", False)
    assert (within["message"], within["task"], within["attempt"]) == ("in it: 3", "t1", 2)
    assert (within["level"], within["process"]) == ("warning", "instance")
    assert after["task"] == "t2"


def test_one_thread_s_task_is_not_another_s() -> None:
    log, stream = logger("json")
    with logs.about(task="t1"):
        other = threading.Thread(target=lambda: log.info("other"))
        other.start()
        other.join()
    assert "task" not in lines(stream)[0]


def test_a_traceback_and_a_line_break_stay_on_one_line() -> None:
    log, stream = logger("json")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it failed")
    (line,) = lines(stream)
    assert "ValueError: two\nlines" in line["traceback"]


def test_people_get_plain_lines() -> None:
    log, stream = logger("text")
    with logs.about(task="t1"):
        log.info("hello")
    assert stream.getvalue().endswith("instance INFO hello\n")


def test_what_is_printed_for_people_is_an_object_for_collectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORAPOOL_LOG_FORMAT", raising=False)
    assert logs.line("lorapool", "starting the store") == "lorapool: starting the store"
    monkeypatch.setenv("LORAPOOL_LOG_FORMAT", "json")
    line = json.loads(logs.line("lorapool", "starting the store"))
    assert (line["process"], line["message"]) == ("lorapool", "starting the store")
