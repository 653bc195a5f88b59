"""Looks after the disk of the leading supervisor's machine: what is no longer kept goes, what waits is sent on.

In a thread of its own, as a full disk is slow and an object store may be away.
"""

from __future__ import annotations

import logging
import threading
import time

from backend.errors import LorapoolError
from backend.settings import Settings
from backend.storage import credentials, retention
from backend.storage.following import carry_on
from backend.storage.housekeeping import at_work, clean, free_bytes
from backend.store.connection import Store

log = logging.getLogger("lorapool.supervisor")

CLEAN_EVERY, LOOK_EVERY = 600.0, 15.0
_GOODBYE = 2.0
_MB, _GB = 1 << 20, 1 << 30


class Janitor:
    """`lead` says each time whether it is this one's turn."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._rules = retention.limits(settings.retention)
        self._stopping = threading.Event()
        self._leads = threading.Event()
        self._low = False
        self._thread = threading.Thread(target=self._live, name="janitor", daemon=True)

    def start(self) -> None:
        """Begin; nothing is done until this supervisor leads."""
        self._thread.start()

    def lead(self, leading: bool) -> None:
        """Whether this supervisor leads."""
        if leading:
            self._leads.set()
        else:
            self._leads.clear()

    def stop(self) -> None:
        """End it; what is being sent is broken off, and goes on with the next one."""
        self._stopping.set()
        self._leads.set()
        if self._thread.is_alive():
            self._thread.join(_GOODBYE)
        self._store.close()

    def _live(self) -> None:
        clean_at = 0.0
        while self._leads.wait() and not self._stopping.is_set():
            try:
                if time.monotonic() >= clean_at:
                    self._clean()
                    clean_at = time.monotonic() + CLEAN_EVERY
                self._look()
                carry_on(self._settings.data_dir, credentials.here(), self._stopping.is_set)
            except (LorapoolError, OSError) as error:
                log.warning("the disk could not be looked after: %s", error)
            self._stopping.wait(LOOK_EVERY)

    def _clean(self) -> None:
        if not self._rules:
            return
        for gone in clean(self._settings.data_dir, self._rules, at_work(self._store), dry_run=False):
            log.info(
                "removed %d %s that are no longer kept (%.1f MB)", gone.count, gone.kind, gone.bytes / _MB
            )

    def _look(self) -> None:
        """Say it once when the disk becomes too full, and once when it no longer is."""
        free, least = free_bytes(self._settings.data_dir), self._settings.least_free_gb
        low = free < least * _GB
        if low and not self._low:
            log.error(
                "%.1f GB are free on the disk of the data folder: no task is begun below %g",
                free / _GB,
                least,
            )
        elif self._low and not low:
            log.info("%.1f GB are free on the disk of the data folder again", free / _GB)
        self._low = low
