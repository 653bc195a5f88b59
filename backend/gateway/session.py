"""One connected consumer: asks the store for what it may have, sends it, and waits to be woken.

When a newer connection of the same consumer takes over, the older one is left open and idle: closing it would make a
client that is still there connect again at once, and take over in turn, for ever. It asks now and then whether it
may have its place back, unless its service has been removed: then it is closed, for whoever deploys a service of
that name next has given it no token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from backend.errors import LorapoolError, NotFound, StoreUnavailable
from backend.gateway.bench import Bench, Benches, Seat
from backend.gateway.context import Gateway
from backend.gateway.hub import TICK
from backend.gateway.queue_operations import Target
from backend.queue.patience import patiently
from backend.queue.stream import consumer_topic
from backend.store import consumers
from backend.store.consumers import Watch
from backend.store.streams import Item

_STORE_PAUSE = 0.25


class QueueEnded(LorapoolError):
    """The queue was ended, and all that was in it was delivered."""

    status = 410


class Session:
    """The consumer of one connection."""

    def __init__(self, gateway: Gateway, benches: Benches, watch: Watch, target: Target) -> None:
        self._store = gateway.store
        self._hub = gateway.hub
        self._catalog = gateway.catalog
        self._metrics = gateway.metrics
        self._benches = benches
        self._watch = watch
        self._target = target
        self._sent: list[int] = []

    async def connect(self) -> None:
        """Register the consumer, before its connection is accepted.

        Raises:
            QueueEnded: there is nothing to watch any more.
        """
        if await patiently(self._store, consumers.connect(self._watch)) == "ended":
            raise QueueEnded(f"queue {self._watch.queue} was ended and all of it was delivered")

    async def run(self, deliver: Callable[[list[Item]], Awaitable[None]], *, looks_often: bool) -> str:
        """Deliver until the queue is `ended`, its service `removed`, or until cancelled.

        `looks_often`: items come back by time alone.
        """
        watch, seat = self._watch, Seat()
        topic = consumer_topic(watch.queue, watch.group, watch.consumer)
        with self._benches.joined(watch) as bench, self._hub.waiting(seat, topic, ticks=looks_often):
            while (over := await self._turn(deliver, bench, seat)) is None:
                pass
        return over

    async def _turn(
        self, deliver: Callable[[list[Item]], Awaitable[None]], bench: Bench, seat: Seat
    ) -> str | None:
        """Fetch once and do what follows; what is over, if anything."""
        try:
            delivery = await self._store.run(consumers.fetch(self._watch, sent=self._sent))
        except StoreUnavailable:
            await asyncio.sleep(_STORE_PAUSE)
            return None
        self._sent = []
        match delivery.state:
            case "ok":
                bench.wake()
                await deliver(delivery.items)
                if self._watch.auto_commit:
                    self._sent = [item.index for item in delivery.items]
                self._metrics.count_delivered(self._watch.queue, len(delivery.items))
            case "empty":
                await bench.sit(seat)
            case "full":
                await seat.wait()
            case "lost":
                return await self._park()
            case "ended":
                return "ended"
        return None

    async def _park(self) -> str | None:
        """Until the place is free again, or the service is gone."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                if await self._removed():
                    return "removed"
                if await self._store.run(consumers.connect(self._watch, take_over=False)) == "ok":
                    return None
            await asyncio.sleep(TICK)

    async def _removed(self) -> bool:
        try:
            deployed = await self._catalog.get(self._target.service.name)
        except NotFound:
            return True
        return deployed.created_at != self._target.since

    async def disconnect(self, *, counted: bool, reason: str) -> None:
        """Give back what was not committed. If the store is away, the lease of this gateway does it later."""
        call = consumers.disconnect(self._watch, counted=counted, reason=reason, sent=self._sent)
        try:
            await patiently(self._store, call)
        except StoreUnavailable:
            return
