"""Server-sent events from lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from app.sse import Event, events


def parsed(text: str) -> list[Event]:
    async def lines() -> AsyncIterator[str]:
        for line in text.split("\n"):
            yield line

    async def read() -> list[Event]:
        return [event async for event in events(lines())]

    return asyncio.run(read())


def test_an_event_has_a_name_data_and_the_last_id_of_the_stream() -> None:
    text = "event: log\nid: 3.0.0\ndata: {}\n\nevent: task\ndata: 1\n\n"
    assert parsed(text) == [Event("log", "{}", "3.0.0"), Event("task", "1", "3.0.0")]


def test_pings_are_no_events_and_half_an_event_at_the_end_is_dropped() -> None:
    assert parsed(": ping\n\n: ping\n\nevent: log\ndata: half") == []


def test_data_may_come_in_several_lines_and_without_a_name() -> None:
    assert parsed("data: a\ndata:b\n\n") == [Event("message", "a\nb", "")]
