"""Who is woken when an item comes: one waiting watcher of each group and filter, then the next while there is more.

Waking all of them for each item would make every item cost as much as there are idle watchers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator

from backend.gateway.hub import Hub
from backend.queue.stream import stream_topic
from backend.store.consumers import Watch
from backend.store.streams import encode_tags


class Seat:
    """One watcher's place to wait."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Until woken; being woken before the call counts."""
        await self._event.wait()
        self._event.clear()


class Bench:
    """The watchers of one queue, group and filter that wait for items, longest waiting first."""

    def __init__(self) -> None:
        self.members = 0
        self.registration = contextlib.ExitStack()
        self._seated: OrderedDict[Seat, None] = OrderedDict()
        self._missed = False

    def wake(self) -> None:
        """Something may have come: one of them looks."""
        if self._seated:
            seat, _ = self._seated.popitem(last=False)
            seat.wake()
        else:
            self._missed = True

    async def sit(self, seat: Seat) -> None:
        """Wait for a turn. What came while nobody sat is looked at first."""
        if self._missed:
            self._missed = False
            return
        self._seated[seat] = None
        try:
            await seat.wait()
        finally:
            self._seated.pop(seat, None)


class Benches:
    """All benches of this gateway."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._benches: dict[tuple[str, str, str], Bench] = {}

    @contextlib.contextmanager
    def joined(self, watch: Watch) -> Iterator[Bench]:
        """The bench of a watcher, for as long as it watches."""
        name = (watch.queue, watch.group, encode_tags(watch.tags))
        bench = self._benches.get(name)
        if bench is None:
            bench = self._benches[name] = Bench()
            topic = stream_topic(watch.queue, watch.pair)
            bench.registration.enter_context(self._hub.waiting(bench, topic, ticks=True))
        bench.members += 1
        try:
            yield bench
        finally:
            bench.members -= 1
            if bench.members:
                # The one that leaves may have been woken without having looked.
                bench.wake()
            else:
                bench.registration.close()
                del self._benches[name]
