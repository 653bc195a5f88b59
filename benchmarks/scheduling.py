"""One scheduling pass over 2 000 waiting tasks and 100 instances: the store read, everything decided and written.

The whole supervisor on a real store, with instances that another process plays: twenty times a second a task ends, a
new one is put, an instance is given the next. Every pass counts, by the clock. Then new supervisors find that queue:
all their passes until they decide.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import threading
from pathlib import Path

from backend.settings import Settings
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from benchmarks import _fleet as fleet
from benchmarks._pool import percentile

WAITING, INSTANCES = 2000, 100
RATE, SECONDS = 20.0, 20.0
STARTS = 5


def main() -> None:
    """Measure, print."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedStore(Path(folder))
        server.start()
        store = Store(server.url)
        try:
            _passes(store, fleet.settings(Path(folder), server.url))
        finally:
            store.close()
            server.stop()


def _passes(store: Store, settings: Settings) -> None:
    fleet.fleet(store, INSTANCES)
    fleet.put(store, WAITING + INSTANCES, itertools.count())
    slices: list[float] = []
    reached: list[float] = []
    supervisor = fleet.Timed(settings)
    with fleet.slices(slices):
        fleet.run(supervisor, fleet.paced, store.url, SECONDS, RATE, 10**6, said=reached.append)
    print(
        f"{WAITING} tasks of {fleet.USERS} users waiting, {INSTANCES} busy instances, {RATE:g} ends a second"
    )
    say("to the first decision", supervisor.passes[: supervisor.opening])
    say("all the others", supervisor.passes[supervisor.opening :])
    say("  their processor time", supervisor.worked[supervisor.opening :])
    say("slice of a forecast", slices)
    say("end to next task given", reached)
    starts = [_start(settings) for _ in range(STARTS)]
    say("passes of new ones, to that", list(itertools.chain(*starts)))
    say("  all of these of one", [sum(passes) for passes in starts])


def _start(settings: Settings) -> list[float]:
    """The passes of a new supervisor to its first decision."""
    supervisor = fleet.Timed(settings)
    stop = threading.Timer(1.0, supervisor.stop)
    stop.start()
    supervisor.run()
    return supervisor.passes[: supervisor.opening]


def say(what: str, seconds: list[float]) -> None:
    """One row."""
    print(
        f"  {what:27} {len(seconds):5} × median {statistics.median(seconds) * 1000:6.1f} ms, "
        f"p99 {percentile(seconds, 0.99) * 1000:6.1f} ms, longest {max(seconds) * 1000:6.1f} ms",
        flush=True,
    )


if __name__ == "__main__":
    main()
