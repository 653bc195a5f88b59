"""A launcher in memory: it starts nothing, and a test says what comes of its orders."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence

from backend.errors import LorapoolError
from backend.instance import Instance
from backend.pool.launcher import Exit, Order, Progress
from backend.service import Description


class FakeLauncher:
    """A complete `Launcher`. `devices` None: as many instances as one likes; `refusal`: why starting fails;
    `congestion`: what a start waits for.

    `engine` holds the ids of what it has started and has not ended, and outlives a launcher where a test hands it to
    the next; `starts` is what `progress` says; `certain` what `kill` answers.
    """

    name = "local"

    def __init__(
        self,
        devices: list[str] | None = None,
        *,
        engine: set[str] | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.host = socket.gethostname()
        self.devices = devices
        self.refusal = ""
        self.congestion = ""
        self.certain = True
        self._outlived = engine is not None
        self.engine = set() if engine is None else engine
        self.starts: dict[str, Progress] = {}
        self.orders: dict[str, Order] = {}
        self.stopped: list[str] = []
        self.killed: list[str] = []
        self.vanished: set[str] = set()
        self.tended = 0
        self.closed = False
        self._on_change = on_change
        self._held: set[str] = set()
        self._exits: list[Exit] = []

    def start(self, order: Order) -> None:
        if self.refusal:
            raise LorapoolError(self.refusal)
        self.orders[order.instance] = order
        self.engine.add(order.instance)
        self._held.add(order.instance)
        if self.congestion:
            self.starts[order.instance] = Progress(self.congestion, time.time())

    def stop(self, instance: Instance) -> None:
        self.stopped.append(instance.id)

    def kill(self, instance: Instance) -> bool:
        if instance.launcher != self.name:
            return True
        self.killed.append(instance.id)
        self.engine.discard(instance.id)
        self.starts.pop(instance.id, None)
        self._held.discard(instance.id)
        return self.certain

    def adopt(self, instance: Instance) -> bool:
        if instance.id in self.vanished or (self._outlived and instance.id not in self.engine):
            return instance.launcher != self.name
        if instance.launcher == self.name:
            self._held.add(instance.id)
        return True

    def holds(self, instance: str) -> bool:
        return instance in self._held

    def exits(self) -> list[Exit]:
        exits, self._exits = self._exits, []
        self._held -= {each.instance for each in exits}
        return exits

    def progress(self) -> Mapping[str, Progress]:
        return self.starts

    def free_devices(self, taken: Sequence[str], description: Description) -> list[str] | None:
        return None if self.devices is None else [each for each in self.devices if each not in taken]

    def tend(self, present: Sequence[Instance]) -> None:
        self.tended += 1
        self.engine &= {instance.id for instance in present}

    def close(self) -> None:
        self.closed = True

    def end(self, instance: str, reason: str = "its process ended unexpectedly") -> None:
        """Have the process of an instance end."""
        self.engine.discard(instance)
        self.vanished.add(instance)
        self._exits.append(Exit(instance, reason))
        self._on_change()
