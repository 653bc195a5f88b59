"""What an instance does before it takes its first task: code is fetched, packages are installed, init commands run.

Each init command is a process of its own with a deadline; what it prints is in the instance's init log. When any of it
fails the instance leaves and says why, and its service starts another one after a pause that grows with each failure.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.errors import LorapoolError, RunFailed, StorageUnavailable
from backend.records import Record
from backend.service import Container, Description
from backend.settings import Settings
from backend.storage import credentials, packages, repository
from backend.storage.fetch import Fetcher
from backend.storage.following import FIRST_PAUSE, LONGEST_PAUSE
from backend.storage.mounts import Mount, Mounts, mounts_of
from backend.storage.objects import ObjectStore
from backend.worker import app_command
from backend.worker.lines import PlainLines
from backend.worker.program import Program

_GB = 1 << 30
_FLUSH_EVERY, _FLUSH_LINES = 0.3, 200


@dataclass(frozen=True, slots=True)
class Means:
    """What a preparation is carried out with. `say` takes lines for the init log, `note` what is being waited for."""

    settings: Settings
    instance: str
    template: Path
    say: Callable[[list[str]], None]
    note: Callable[[str], None]


class Preparation:
    """One instance's. `run` works in a thread; `stop` may come from any other."""

    def __init__(self, service: Description, means: Means) -> None:
        self._service = service
        self._means = means
        self._stopping = threading.Event()
        self._program: Program | None = None
        self._lock = threading.Lock()
        self.mounts: Mounts = mounts_of(
            service, means.settings.data_dir, instance=means.instance, files_of=means.settings.files_of
        )

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return self._service.preparation_deadline > 0

    def stop(self) -> None:
        """End what runs: the instance leaves."""
        self._stopping.set()
        with self._lock:
            if self._program is not None:
                self._program.stop(self._means.settings.stop_grace)

    def run(self) -> dict[str, str]:
        """Do it all; variables for everything that the instance starts from here on.

        Raises:
            RunFailed: something could not be done; the reason is for people.
        """
        began = time.monotonic()
        for mount in self.mounts:
            if not mount.fault and mount.storage.kind in ("object", "empty"):
                mount.folder.mkdir(parents=True, exist_ok=True)
        for mount in self.mounts:
            self._bring(mount)
        variables = self._packages()
        for container in self._service.init_containers:
            self._command(container, variables)
        self._means.say([f"— ready for tasks after {time.monotonic() - began:.1f} s —"])
        return variables

    def say_failed(self, why: str) -> None:
        """The last line of the init log."""
        self._means.say([f"— it failed: {why} —"])

    def _wanted(self) -> None:
        if self._stopping.is_set():
            raise RunFailed("it was told to leave while it prepared itself")

    def _bring(self, mount: Mount) -> None:
        """Have what the service's own commands need from a mount; what tasks need is fetched when they name it."""
        self._wanted()
        storage, means = mount.storage, self._means
        if storage.git is not None:
            means.note(f"cloning {storage.git.repo}")
            repository.clone(storage.git, mount.folder, give_up=self._stopping.is_set)
            means.say([f"— {storage.git.repo} is at {storage.mount_path} —"])
        elif mount.place is not None:
            texts = [text for each in self._service.containers for text in _texts(each)]
            named = [""] if storage.properties.resource_type == "code" else []
            named += [path for other, path in self.mounts.named(texts) if other is mount]
            if named:
                self._fetch(mount, named)
        elif mount.fault:
            means.say([f"— {storage.mount_path}: {mount.fault} —"])

    def _fetch(self, mount: Mount, names: list[str]) -> None:
        settings, place = self._means.settings, mount.place
        assert place is not None
        found = credentials.find(place, settings.data_dir, credentials.here())
        if found is None:
            raise RunFailed(credentials.why_none(place))
        budget = int(settings.storage_cache_gb * _GB)
        store = ObjectStore(place, found)
        fetcher = Fetcher(mount, store, budget=budget, give_up=self._stopping.is_set)
        self._means.note(f"fetching from {place.url}")
        deadline, pause = time.monotonic() + settings.storage_patience, FIRST_PAUSE
        while True:
            self._wanted()
            try:
                done = fetcher.fetch(names)
            except StorageUnavailable as error:
                if error.refused or time.monotonic() > deadline:
                    raise RunFailed(str(error)) from None
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._means.say([f"— fetched {done.files} files from {place.url}, {done.there} were there —"])
                return

    def _packages(self) -> dict[str, str]:
        """Install what `prepare` names, into an environment of the service's own; the variables that select it."""
        lines: list[str] = []
        deadline = 0.0
        for container in self._service.containers:
            lines += container.prepare.requirements
            if path := container.prepare.requirements_path:
                lines += _lines_of(Path(self.mounts.text(path)))
            if container.prepare.requirements or container.prepare.requirements_path:
                deadline += container.init_deadline
        if not lines:
            return {}
        self._wanted()
        folder = packages.folder(self._means.settings.data_dir, lines)
        with packages.held_for(folder, self._stopping.is_set) as mine:
            if mine and not packages.is_complete(folder):
                self._means.note("installing its packages")
                packages.begin(folder, lines)
                self._run(packages.command(folder), {}, deadline, "the installation of its packages")
                packages.completed(folder)
        self._wanted()
        return packages.variables(folder)

    def _command(self, container: Container, variables: Mapping[str, str]) -> None:
        mapped = container.model_copy(
            update={
                "command": self.mounts.text(container.command),
                "script": self.mounts.text(container.script),
            }
        )
        argv = app_command.command_line(mapped, 0)
        shown = container.command or container.script
        self._means.note("running its init command")
        environment = {each.name: self.mounts.text(each.value) for each in container.env}
        what = f"its init command ({shown[:80]!r})"
        self._run(argv, {**variables, **environment}, container.init_deadline, what)

    def _run(self, argv: tuple[str, ...], variables: Mapping[str, str], seconds: float, what: str) -> None:
        """Run a program to its end.

        Raises:
            RunFailed: it ended otherwise than well, or took longer than it may.
        """
        self._wanted()
        means = self._means
        voice = _Voice(means.say)
        voice.say([f"— {' '.join(argv)[:200]} —"], [])
        program = Program(
            means.template,
            argv,
            entry=None,
            environment={
                **app_command.environment(
                    Container(), 0, {**os.environ, **variables}, data_dir=means.settings.data_dir
                ),
                **variables,
            },
            cwd=means.settings.data_dir,
            deadline=means.settings.start_deadline,
            give_up=self._stopping.is_set,
        )
        late = threading.Event()

        def too_late() -> None:
            late.set()
            program.stop(means.settings.stop_grace)

        timer = threading.Timer(seconds, too_late)
        timer.daemon = True
        with self._lock:
            self._program = program
        timer.start()
        try:
            if self._stopping.is_set():
                program.stop(0.0)
            ending = program.run(PlainLines(), voice, _no_record)
        finally:
            timer.cancel()
            program.close()
            with self._lock:
                self._program = None
        self._wanted()
        if late.is_set():
            raise RunFailed(f"{what} took longer than {seconds:.0f} s (init_deadline) and was ended")
        if ending.exit_code != 0:
            how = (
                f"exit code {ending.exit_code}" if ending.exit_code is not None else f"signal {ending.signal}"
            )
            raise RunFailed(f"{what} failed with {how}{': ' + voice.last if voice.last else ''}")


class _Voice:
    """Passes on what a program prints, in small batches."""

    def __init__(self, say: Callable[[list[str]], None]) -> None:
        self._say = say
        self._lines: list[str] = []
        self._oldest = 0.0
        self.last = ""

    @property
    def due_in(self) -> float | None:
        return max(0.0, self._oldest + _FLUSH_EVERY - time.monotonic()) if self._lines else None

    def say(self, lines: list[str], records: list[Record]) -> None:
        """Take lines; an init command has no progress of its own."""
        if lines and not self._lines:
            self._oldest = time.monotonic()
        self._lines += lines
        self.last = next((line.strip() for line in reversed(lines) if line.strip()), self.last)[:300]
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._say(lines)


def _texts(container: Container) -> list[str]:
    return [
        container.command,
        container.script,
        container.prepare.requirements_path,
        *(variable.value for variable in container.env),
    ]


def _lines_of(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunFailed(f"its pythonRequirementsPath {file} cannot be read: {error}") from None


def _no_record(record: Record) -> None:
    """There is nothing to do with it."""


def prepare(preparation: Preparation) -> tuple[dict[str, str], str]:
    """Carry a preparation out: the variables for what comes after it, or why it failed."""
    try:
        return preparation.run(), ""
    except (LorapoolError, OSError) as error:
        return {}, str(error)
