"""What starts and stops instances somewhere: the seam between the supervisor and the machines.

A launcher only orders: `start` and `stop` return at once, what comes of it is seen by `exits` and by the instance's
own word in the store. Every wait has a deadline, kept by the supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from backend.instance import Instance


@dataclass(frozen=True, slots=True)
class Order:
    """An instance to be started. `device` is what it is given: `cuda:0`, or `cpu`."""

    instance: str
    service: str
    device: str


@dataclass(frozen=True, slots=True)
class Exit:
    """An instance's process is gone."""

    instance: str
    reason: str


class Launcher(Protocol):
    """The contract. `name` is what `Instance.launcher` says.

    Instances that this launcher cannot reach (another host's, or one that somebody started by hand) are in the pool
    all the same: `stop` and `kill` leave them alone, and only their lease says when they are gone.
    """

    name: str

    def start(self, order: Order) -> None:
        """Order an instance. Raises LorapoolError when it cannot be ordered; nothing was started then."""

    def stop(self, instance: Instance) -> None:
        """Ask an instance to leave: it saves and hands back what it runs, then ends."""

    def kill(self, instance: Instance) -> None:
        """End an instance and everything it runs, now, and see that nothing is left. Safe to repeat."""

    def adopt(self, instance: Instance) -> bool:
        """Watch an instance that an earlier supervisor started, if it can be reached; False when it surely is gone."""

    def holds(self, instance: str) -> bool:
        """Whether this very launcher started or adopted the instance, and has not told its end yet."""

    def exits(self) -> list[Exit]:
        """Instances that ended since the last call."""

    def held_up(self, instance: str) -> str:
        """Why an instance that was ordered is not up yet, in words for a person; '' when there is nothing to say."""

    def free_devices(self, taken: list[str]) -> list[str] | None:
        """Devices for which an instance could be ordered; None: as many as one likes."""

    def forget_logs(self, keep: int) -> None:
        """Remove what instances have said, but for those that run and the newest `keep`."""

    def tend(self) -> None:
        """Mend what the launcher itself needs; called about once a second."""

    def close(self) -> None:
        """Give up what the launcher holds; instances that still run go on."""
