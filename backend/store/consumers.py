"""Consumers of a stream queue: connecting, being given items, committing, leaving.

A consumer is (queue, group, name); its connection is a session. A newer session takes over from an older one,
which is told `lost` at its next fetch. A session belongs to a gateway, which renews a lease: when it is gone,
whoever asks next gives its consumers' items back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from backend.store.call import Call, command, script
from backend.store.keys import key
from backend.store.streams import Item, encode_tags, read_items, wanted_pair

GATEWAY_LEASE = 10.0
"""Seconds after which a gateway that renewed nothing is taken for gone."""

ONLY_NEW = -1

Opened: TypeAlias = Literal["ok", "taken", "ended"]
State: TypeAlias = Literal["ok", "full", "empty", "ended", "lost"]


@dataclass(frozen=True, slots=True)
class Watch:
    """What a consumer asked for when it connected.

    At most `window` items are with it uncommitted; with `auto_commit` each is committed once it was sent, and
    the window does not apply. `start` is the first index it wants, or `ONLY_NEW`.
    """

    queue: str
    group: str
    consumer: str
    session: str
    gateway: str
    window: int = 1
    auto_commit: bool = False
    index_only: bool = False
    start: int = 0
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def pair(self) -> str:
        """What this consumer is woken by."""
        return wanted_pair(self.tags)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answer to a fetch: `items` when `state` is ok, else why there are none."""

    state: State
    items: list[Item]


def connect(watch: Watch, *, take_over: bool = True) -> Call[Opened]:
    """Register the session: `taken` when an older one is connected and `take_over` is not set."""
    options = (
        watch.window,
        int(watch.auto_commit),
        int(watch.index_only),
        encode_tags(watch.tags),
        watch.start,
    )
    return script("queue_open", *_session(watch), *_lease(watch), *options, int(take_over)).then(
        lambda answer: answer.decode()
    )


def fetch(
    watch: Watch, *, sent: Sequence[int] = (), most: int = 64, max_bytes: int = 1 << 20
) -> Call[Delivery]:
    """Up to `most` items for this session, after committing `sent` (what an auto-committing one was sent)."""
    call = script("queue_fetch", *_session(watch), *_lease(watch), most, max_bytes, watch.pair, *sent)
    return call.then(lambda answer: Delivery(answer[0].decode(), read_items(answer[1:])))


def disconnect(watch: Watch, *, counted: bool, reason: str, sent: Sequence[int] = ()) -> Call[bool]:
    """End the session; what it held goes to others, as a failed delivery if `counted`."""
    return script("queue_close", *_session(watch), int(counted), reason, *sent).then(bool)


def renew(gateway: str) -> Call[None]:
    """Say that a gateway is there; to be repeated well within `GATEWAY_LEASE`."""
    return command("SET", key("gateway", gateway), "1", "PX", int(GATEWAY_LEASE * 1000)).then(lambda _: None)


def _session(watch: Watch) -> tuple[str, str, str, str]:
    return (watch.queue, watch.group, watch.consumer, watch.session)


def _lease(watch: Watch) -> tuple[str, int]:
    return (watch.gateway, int(GATEWAY_LEASE * 1000))


def commit(queue: str, group: str, indexes: Sequence[int]) -> Call[None]:
    """The group has consumed these, at most `MOST_AT_ONCE`, whether or not they had been delivered."""
    return script("queue_commit", queue, group, *indexes).then(lambda _: None)


def negative(
    queue: str, group: str, indexes: Sequence[int], *, counted: bool, code: str = "", reason: str = ""
) -> Call[int]:
    """The group could not consume these: delivered again, or, when they failed too often, dead letters.

    The answer is how many of them were delivered; at most `MOST_AT_ONCE` are taken.
    """
    return script("queue_negative", queue, group, int(counted), code, reason, *indexes).then(int)


@dataclass(frozen=True, slots=True)
class ConsumerView:
    """A consumer as attributes show it. Times are seconds."""

    group: str
    name: str
    status: Literal["Running", "Leaving", "Exit", "Complete"]
    index: int
    pending: int
    idle: float
    window: int
    slots: int
    auto_commit: bool
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group: what it has not been given, and what it has not committed."""

    name: str
    waiting: int
    pending: int


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue at one moment. `last` is the last index ever given, `first` the oldest item's or 0."""

    length: int
    first: int
    last: int
    ended: bool
    capacity: int
    max_payload: int
    groups: list[GroupView]
    consumers: list[ConsumerView]


_LEAVING = 60.0  # seconds after which a consumer that left is called Exit


def view(queue: str) -> Call[QueueView]:
    """All that attributes show of a queue."""
    return script("queue_attributes", queue).then(lambda answer: _read_view(json.loads(answer)))


def _read_view(raw: dict[str, Any]) -> QueueView:
    settings = raw["settings"]
    groups = [GroupView(*values) for values in raw["groups"] or ()]
    waiting = {group.name: group.waiting for group in groups}
    consumers = [_read_consumer(c, waiting, float(raw["now"])) for c in raw["consumers"] or ()]
    return QueueView(
        length=raw["length"],
        first=raw["first"],
        last=int(settings.get("last", 0)),
        ended=settings.get("ended") == "1",
        capacity=int(settings.get("capacity", 0)),
        max_payload=int(settings.get("max_payload", 0)),
        groups=sorted(groups, key=lambda group: group.name),
        consumers=sorted(consumers, key=lambda consumer: (consumer.group, consumer.name)),
    )


def _read_consumer(raw: dict[str, Any], waiting: dict[str, int], now: float) -> ConsumerView:
    connected, auto = bool(raw.get("session")), raw.get("auto") == "1"
    window = int(raw.get("window", 0)) if connected and not auto else 0
    status: Literal["Running", "Leaving", "Exit", "Complete"] = "Running"
    if not connected:
        if waiting.get(raw["group"], 0) == 0:
            status = "Complete"
        else:
            status = "Leaving" if now - float(raw.get("left_at") or 0) < _LEAVING else "Exit"
    return ConsumerView(
        group=raw["group"],
        name=raw["consumer"],
        status=status,
        index=int(raw.get("index", 0)),
        pending=raw["pending"],
        idle=max(0.0, now - float(raw.get("active_at") or now)),
        window=window,
        slots=max(0, window - raw["pending"]),
        auto_commit=auto,
        tags=json.loads(raw.get("tags", "{}")),
    )
