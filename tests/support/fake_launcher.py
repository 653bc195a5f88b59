"""A launcher in memory: it starts nothing, and a test says what comes of its orders."""

from __future__ import annotations

from backend.errors import LorapoolError
from backend.instance import Instance
from backend.pool.launcher import Exit, Order


class FakeLauncher:
    """A complete `Launcher`. `devices` None: as many instances as one likes; `refusal`: why starting fails."""

    name = "local"

    def __init__(self, devices: list[str] | None = None) -> None:
        self.devices = devices
        self.refusal = ""
        self.orders: dict[str, Order] = {}
        self.stopped: list[str] = []
        self.killed: list[str] = []
        self.vanished: set[str] = set()
        self.waits_for: dict[str, str] = {}
        self.kept_logs = -1
        self.tended = 0
        self.closed = False
        self._held: set[str] = set()
        self._exits: list[Exit] = []

    def start(self, order: Order) -> None:
        if self.refusal:
            raise LorapoolError(self.refusal)
        self.orders[order.instance] = order
        self._held.add(order.instance)

    def stop(self, instance: Instance) -> None:
        self.stopped.append(instance.id)

    def kill(self, instance: Instance) -> None:
        self.killed.append(instance.id)
        self._held.discard(instance.id)

    def adopt(self, instance: Instance) -> bool:
        if instance.id in self.vanished:
            return False
        if instance.launcher == self.name:
            self._held.add(instance.id)
        return True

    def holds(self, instance: str) -> bool:
        return instance in self._held

    def exits(self) -> list[Exit]:
        exits, self._exits = self._exits, []
        self._held -= {each.instance for each in exits}
        return exits

    def held_up(self, instance: str) -> str:
        return self.waits_for.get(instance, "")

    def free_devices(self, taken: list[str]) -> list[str] | None:
        return None if self.devices is None else [each for each in self.devices if each not in taken]

    def forget_logs(self, keep: int) -> None:
        self.kept_logs = keep

    def tend(self) -> None:
        self.tended += 1

    def close(self) -> None:
        self.closed = True

    def end(self, instance: str, reason: str = "its process ended unexpectedly") -> None:
        """Have the process of an instance end."""
        self._exits.append(Exit(instance, reason))
