"""One attempt of a task on a box that does not see the data folder: its files come from and go to the gateway.

Its own data folder stands for the deployment's. What a run says of files is held back until they are on the other
side, and names them as they are called there: whoever reads of a checkpoint or a state finds it whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from backend.errors import StaleAttempt, StorageUnavailable
from backend.links import OUTPUTS
from backend.paths import JOBS
from backend.records import FileWritten, Record, Result
from backend.settings import Settings
from backend.storage.following import Following, Root
from backend.storage.gateway import GatewayStore, Needs, Ticket
from backend.storage.mounts import Mount
from backend.storage.source import Unwanted
from backend.task import Task
from backend.worker.program import Voice

_LOOK_EVERY = 1.0


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """What the answers of the gateway mean: another attempt has the task, or a file went while it was asked for."""
    try:
        yield
    except Unwanted as error:
        raise StaleAttempt(str(error)) from None
    except FileNotFoundError as error:
        raise StorageUnavailable(f"{error}; it is looked for again") from None


class BoxTask:
    """`mount` is the one whose folder stands for the deployment's."""

    def __init__(self, mount: Mount, settings: Settings, task: Task, *, instance: str) -> None:
        self.mount = mount
        self._theirs = Path(mount.storage.mount_path)
        self._task = task
        ticket = Ticket(task.id, task.attempt, instance)
        self.store = GatewayStore(settings.endpoint, settings.token, ticket)
        self.following: Following | None = None
        self._held: list[FileWritten | Result] = []

    def needs(self) -> Needs:
        """What the task needs of the data folder.

        Raises:
            StorageUnavailable: the gateway does not answer.
            StaleAttempt: another attempt has the task by now.
        """
        with asking():
            return self.store.needs()

    def follow(self, data_dir: Path, written: Iterable[Path]) -> Following:
        """What sends whatever the task writes; not begun yet."""
        own = [self.mount.folder / top / self._task.id for top in (JOBS, OUTPUTS)]
        outside = [
            folder
            for folder in dict.fromkeys(written)
            if folder.is_relative_to(self.mount.folder) and not any(folder.is_relative_to(o) for o in own)
        ]
        roots = [Root(folder, f"{self.inner(folder)}/") for folder in (*own, *outside)]
        name = f"{self._task.id}-{self.mount.state.name}"
        self.following = Following(data_dir, name, self.store, self.mount.state, roots)
        return self.following

    def inner(self, path: Path) -> str:
        """The path of a file or folder of this box in the data folder; raises ValueError for one that lies outside."""
        return path.relative_to(self.mount.folder).as_posix()

    def theirs(self, path: str) -> str:
        """What a path of this box is called in the deployment."""
        here = Path(path)
        return str(self._theirs / self.inner(here)) if here.is_relative_to(self.mount.folder) else path

    def line(self, line: str) -> str:
        """A line of the log with the files of this box named as the deployment calls them."""
        return line.replace(f"{self.mount.folder}/", f"{self._theirs}/")

    def ours(self, path: str) -> str | None:
        """The path in the data folder of what the deployment calls so; None for what lies outside."""
        there = Path(path)
        return there.relative_to(self._theirs).as_posix() if there.is_relative_to(self._theirs) else None

    def passed_on(self, records: Sequence[Record], *, all_sent: bool = False) -> list[Record]:
        """What may be said now: of files those that have arrived, of one kind in the order of their making."""
        said: list[Record] = []
        for record in records:
            if isinstance(record, FileWritten | Result):
                self._held.append(record)
            else:
                said.append(record)
        waits: set[str] = set()
        still: list[FileWritten | Result] = []
        for each in self._held:
            kind = each.kind if isinstance(each, FileWritten) else "result"
            if kind not in waits and (all_sent or self._arrived(each)):
                said.append(self._renamed(each))
            else:
                waits.add(kind)
                still.append(each)
        self._held = still
        return said

    @property
    def holds(self) -> bool:
        """Whether something waits for its file to arrive."""
        return bool(self._held)

    def _arrived(self, record: FileWritten | Result) -> bool:
        file = Path(record.path if isinstance(record, FileWritten) else record.output)
        try:
            return self.following is not None and self.following.has(file)
        except OSError:
            return False

    def _renamed(self, record: FileWritten | Result) -> FileWritten | Result:
        if isinstance(record, FileWritten):
            return replace(record, path=self.theirs(record.path))
        return replace(record, output=self.theirs(record.output))

    def publish(self, output: Path) -> str:
        """Have a finished LoRA, which was sent, under the deployment's `loras/`; its path there.

        Raises:
            StorageUnavailable: the gateway does not answer.
            StaleAttempt: another attempt has the task by now.
        """
        with asking():
            return str(self._theirs / self.store.publish(self.inner(output)))


class BoxVoice:
    """The voice of a run on such a box: passes on what it says as soon as that is true where it is read."""

    def __init__(self, box: BoxTask, inner: Voice) -> None:
        self._box, self._inner = box, inner

    @property
    def due_in(self) -> float | None:
        """Seconds until `flush` is to be called; a run that says nothing is asked what has arrived meanwhile."""
        self._inner.say([], self._box.passed_on(()))
        due = self._inner.due_in
        return _LOOK_EVERY if due is None and self._box.holds else due

    def say(self, lines: list[str], records: list[Record]) -> None:
        """Take what was said."""
        self._inner.say([self._box.line(line) for line in lines], self._box.passed_on(records))

    def flush(self) -> None:
        """Send what was said; raises as the reporter does."""
        self._inner.flush()
