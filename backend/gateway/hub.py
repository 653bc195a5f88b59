"""The one subscription of this process: everybody who waits for something in the store waits here.

Messages only say that something may have changed; whoever is woken reads the records. So a lost message costs
time, not truth: while the subscription is down, everybody is woken once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Protocol

from backend.errors import StoreUnavailable
from backend.queue.stream import consumer_topic, stream_topic
from backend.store.announcements import CHANGES, QUEUE_CHANGES
from backend.store.multiplex import MultiplexedStore

log = logging.getLogger("lorapool.gateway")

POLL = 1.0
"""Seconds between two looks while the subscription is down."""

TICK = 4.0
"""Seconds between two looks of those who also wait for time to pass (leases, `max_idle`)."""


class Waiter(Protocol):
    """Somebody to be woken. Waking must be cheap and must not wait."""

    def wake(self) -> None: ...


class Flag:
    """A waiter that one coroutine waits with."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Until woken (True) or `seconds` have passed; being woken before the call counts."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        woken = self._event.is_set()
        self._event.clear()
        return woken


class Changes(Flag):
    """A flag that also keeps what was said: (kind, id, service) of tasks, instances and services."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[str, str, str], None] = {}

    def note(self, kind: str, name: str, service: str) -> None:
        self.seen[(kind, name, service)] = None
        self.wake()


def task_topic(task: str) -> str:
    """Anything about one task, its output included."""
    return f"task\0{task}"


def service_topic(service: str) -> str:
    """Tasks, instances and the description of one service; not the output of its tasks."""
    return f"service\0{service}"


class Hub:
    """Topics and their waiters, fed by one subscription."""

    def __init__(self, store: MultiplexedStore) -> None:
        self._store = store
        self._topics: dict[str, dict[Waiter, None]] = {}
        self._ticking: dict[Waiter, None] = {}
        self._changes: dict[Changes, None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.connected = asyncio.Event()
        self.stopping = False

    async def start(self) -> None:
        """Begin to listen; returns at once."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._tick())]

    async def stop(self) -> None:
        """End every wait: streams and long polls finish. The subscription ends."""
        self.stopping = True
        self._wake_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextlib.contextmanager
    def waiting(self, waiter: Waiter, *topics: str, ticks: bool = False) -> Iterator[None]:
        """Have `waiter` woken for these topics; with `ticks` also every few seconds."""
        for topic in topics:
            self._topics.setdefault(topic, {})[waiter] = None
        if ticks:
            self._ticking[waiter] = None
        try:
            yield
        finally:
            self._ticking.pop(waiter, None)
            for topic in topics:
                waiters = self._topics[topic]
                waiters.pop(waiter, None)
                if not waiters:
                    del self._topics[topic]

    @contextlib.contextmanager
    def changes(self) -> Iterator[Changes]:
        """Everything that changes, except the output of tasks."""
        changes = Changes()
        self._changes[changes] = None
        try:
            yield changes
        finally:
            del self._changes[changes]

    def _wake(self, topic: str) -> None:
        for waiter in tuple(self._topics.get(topic, ())):
            waiter.wake()

    def _wake_all(self) -> None:
        for waiters in tuple(self._topics.values()):
            for waiter in tuple(waiters):
                waiter.wake()
        for changes in tuple(self._changes):
            changes.wake()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK if self.connected.is_set() else POLL)
            if self.connected.is_set():
                for waiter in tuple(self._ticking):
                    waiter.wake()
            else:
                self._wake_all()

    async def _listen(self) -> None:
        while True:
            try:
                await self._store.listen([CHANGES, QUEUE_CHANGES], self._dispatch, self._standing)
            except StoreUnavailable as error:
                if self.connected.is_set():
                    log.warning("%s; looking every second until it does", error)
            self.connected.clear()
            await asyncio.sleep(POLL / 4)

    def _standing(self) -> None:
        self.connected.set()
        # What was announced while nobody listened is found by looking.
        self._wake_all()

    def _dispatch(self, channel: bytes, message: bytes) -> None:
        said: dict[str, str] = json.loads(message)
        if channel.decode() == QUEUE_CHANGES:
            if "pair" in said:
                self._wake(stream_topic(said["queue"], said["pair"]))
            else:
                self._wake(consumer_topic(said["queue"], said["group"], said["consumer"]))
            return
        kind, name, service = said["kind"], said["id"], said["service"]
        if kind in ("task", "output", "deleted"):
            self._wake(task_topic(name))
        if kind in ("task", "instance", "service", "deleted"):
            self._wake(service_topic(service))
            for changes in tuple(self._changes):
                changes.note(kind, name, service)
