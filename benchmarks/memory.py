"""Whether a supervisor or its store grows: 100 000 tasks put, given out and ended, by a hundred instances.

The whole supervisor on a real store; another process plays the instances. 500 tasks wait at any time, and of those
that have ended the records of the last thousand are kept. After each 10 000: the memory of both, and the store's keys.
"""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from benchmarks import _fleet as fleet

INSTANCES = 100
THROUGH, STEP, KEPT = 100_000, 10_000, 1000


def main() -> None:
    """Measure, print a table."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedStore(Path(folder))
        server.start()
        store = Store(server.url)
        try:
            fleet.fleet(store, INSTANCES)
            supervisor = fleet.Timed(fleet.settings(Path(folder), server.url, keep_tasks=KEPT))
            print("| tasks | after | supervisor | store | keys | puts, starts and ends a second |")
            print("|--:|--:|--:|--:|--:|--:|")
            fleet.run(supervisor, fleet.through, store.url, THROUGH, STEP, said=_Row(store))
        finally:
            store.close()
            server.stop()


class _Row:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._began = self._before = time.monotonic()

    def __call__(self, done: Any) -> None:
        now = time.monotonic()
        gc.collect()
        own = psutil.Process().memory_info().rss / 2**20
        held = self._store.redis.info("memory")["used_memory"] / 2**20
        print(
            f"| {done} | {now - self._began:.0f} s | {own:.1f} MiB | {held:.1f} MiB | {self._store.redis.dbsize()} "
            f"| {STEP / (now - self._before):.0f} |",
            flush=True,
        )
        self._before = now


if __name__ == "__main__":
    main()
