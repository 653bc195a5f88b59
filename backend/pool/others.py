"""The launcher of those who start instances themselves: by hand, by systemd, or by an autoscaler of somebody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.errors import Conflict
from backend.instance import Instance
from backend.pool.launcher import Exit, Order, Progress
from backend.service import Description


class NoLauncher:
    """See `Launcher`: there is never a place for an instance of its own, and none is within its reach.

    Instances that others start get tasks and drain as anywhere; only their lease says when they are gone.
    """

    name = "none"
    host = ""

    def start(self, order: Order) -> None:
        """Refused: somebody else starts instances."""
        raise Conflict("instances of this deployment are started by somebody else (LORAPOOL_LAUNCHER=none)")

    def stop(self, instance: Instance) -> None:
        """Out of reach."""

    def kill(self, instance: Instance) -> bool:
        """Nothing of its own is left, as there never was anything."""
        return True

    def adopt(self, instance: Instance) -> bool:
        """Its lease tells."""
        return True

    def holds(self, instance: str) -> bool:
        """None."""
        return False

    def exits(self) -> list[Exit]:
        """None."""
        return []

    def progress(self) -> Mapping[str, Progress]:
        """None."""
        return {}

    def free_devices(self, taken: Sequence[str], description: Description) -> list[str] | None:
        """No place for any."""
        return []

    def tend(self, present: Sequence[Instance]) -> None:
        """Nothing needs it."""

    def close(self) -> None:
        """Nothing is held."""
