"""The files of one query on a box that does not see the data folder: fetched before it, and sent after it.

Before the app is asked, the model and the LoRAs are there; before the answer is given, the pictures are where
everybody looks for them.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from backend.errors import RunFailed, StaleAttempt, StorageUnavailable
from backend.records import FileWritten
from backend.service import Description
from backend.settings import Settings
from backend.storage.fetch import Fetcher, NoRoom, pinned
from backend.storage.following import FIRST_PAUSE, LONGEST_PAUSE
from backend.storage.mounts import mounts_of
from backend.storage.records import Records
from backend.storage.source import Unwanted
from backend.storage.upload import Changed, send
from backend.task import Task
from backend.worker.app_request import Reply, reason_of
from backend.worker.box_task import BoxTask, asking

_GB = 1 << 30
_UNAVAILABLE, _REFUSED = 503, 400


class QueryFiles:
    """For one attempt of a query. `data` is its body as the app is to have it."""

    def __init__(self, box: BoxTask, settings: Settings, task: Task) -> None:
        self._box = box
        self._settings = settings
        self._task = task
        self._files: tuple[str, ...] = ()
        self.data = task.data

    @staticmethod
    def of(service: Description, settings: Settings, task: Task, *, instance: str) -> QueryFiles | None:
        """None where the data folder of the deployment is here."""
        if not settings.files_of:
            return None
        mounts = mounts_of(service, settings.data_dir, instance=instance, files_of=settings.files_of)
        whole = next(mount for mount in mounts if mount.of_gateway)
        return QueryFiles(BoxTask(whole, settings, task, instance=instance), settings, task)

    def bring(self, give_up: Callable[[], bool]) -> Reply | None:
        """Have what the query names here; an answer in the app's place where that cannot be.

        Raises:
            StaleAttempt: another attempt has it by now.
        """
        box, deadline, pause = self._box, time.monotonic() + self._settings.storage_patience, FIRST_PAUSE
        budget = int(self._settings.storage_cache_gb * _GB)
        while True:
            try:
                needs = box.needs()
                if needs.fault is not None:
                    said = needs.fault.encode()
                    return Reply(_REFUSED, said, reason_of(_REFUSED, said, final=True), final=True)
                self._files = needs.files
                self.data = needs.data.encode() if needs.data is not None else self._task.data
                with asking():
                    Fetcher(box.mount, box.store, budget=budget, give_up=give_up).fetch(needs.files)
                return None
            except StorageUnavailable as error:
                if error.refused or give_up() or time.monotonic() > deadline:
                    return Reply(_UNAVAILABLE, reason=f"its files could not be fetched: {error}")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except (NoRoom, RunFailed) as error:
                return Reply(_UNAVAILABLE, reason=str(error))

    def close(self) -> None:
        """Let go of the gateway."""
        self._box.store.close()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what was brought from being removed."""
        files = [self._box.mount.folder / path for path in self._files]
        with pinned(self._settings.data_dir, self._task.id, files):
            yield

    def shown(self, record: FileWritten) -> FileWritten:
        """A preview: sent at once, and named as the deployment calls it. One that is late is not worth waiting for."""
        file = Path(record.path)
        with contextlib.suppress(StorageUnavailable, Unwanted, Changed, OSError, ValueError):
            send(self._box.store, Records(self._box.mount.state), file, self._box.inner(file))
        return FileWritten(
            record.kind, self._box.theirs(record.path), record.step, record.epoch, record.label
        )

    def sent(self, reply: Reply | None, give_up: Callable[[], bool]) -> Reply | None:
        """The reply, once the files that the app has made for it are where the deployment has its own.

        Raises:
            StaleAttempt: another attempt has it by now.
        """
        if reply is None or not reply.good:
            return reply
        following = self._box.follow(self._settings.data_dir, ())
        left = following.finish(math.inf, give_up)
        if following.refused:
            raise StaleAttempt("another attempt has this query by now")
        return None if left else reply
