"""Server-sent events as they come over the wire (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `data` is the JSON text as it was sent; `id` the last one seen in the stream."""

    name: str
    data: str
    id: str


async def events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """The events of a stream of lines without their ends; comments and half an event at the end are dropped."""
    name, data, last_id = "message", list[str](), ""
    async for line in lines:
        if not line:
            if data:
                yield Event(name, "\n".join(data), last_id)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                name = value
            case "data":
                data.append(value)
            case "id" if "\0" not in value:
                last_id = value
