"""The files of one run on an instance: what its service's `storage[]` stands for is there before it, and goes after it.

Before the run: paths are mapped, what the task names in an object store is fetched. While it runs, and at its end:
what it writes is sent. A store that is away holds up the start of a run that needs something from it, and nothing else.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from backend.errors import RunFailed, StorageUnavailable
from backend.paths import ALSO_ALLOWED
from backend.service import Description
from backend.settings import Settings
from backend.storage import credentials
from backend.storage.fetch import Fetcher, pinned
from backend.storage.following import FIRST_PAUSE, LONGEST_PAUSE, MAPPED, Following, Root
from backend.storage.mounts import Mount, Mounts, mounts_of
from backend.storage.objects import ObjectStore
from backend.storage.source import Source
from backend.task import Task
from backend.worker.box_task import BoxTask, asking
from backend.worker.command import words
from backend.worker.result_file import options
from backend.worker.texts import WRITTEN, command_texts, text_of, toml_texts, value_of

Name = tuple[Mount, str]
"""A file or folder of an object store that a task names: its mount and the path below that."""

_GB = 1 << 30
_TOLD_EVERY = 0.5


class TaskFiles:
    """For one attempt. `task` is the task as it runs here.

    `box` is set where the deployment's data folder is not here. `tell` hears how far fetching and sending are, in
    words for the page.
    """

    def __init__(
        self,
        service: Description,
        settings: Settings,
        task: Task,
        job_dir: Path,
        *,
        instance: str,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._job_dir = job_dir
        self._given = task
        self._tell = tell
        self.mounts: Mounts = mounts_of(
            service, settings.data_dir, instance=instance, files_of=settings.files_of
        )
        whole = next((mount for mount in self.mounts if mount.of_gateway), None)
        self.box = BoxTask(whole, settings, task, instance=instance) if whole else None
        self.task = mapped(task, self.mounts)
        self._stores: dict[Mount, Source] = {}
        self._followings: list[Following] = []

    @property
    def environment(self) -> dict[str, str]:
        """Variables that let a run use the folders of its mounts."""
        if not self.mounts:
            return {}
        return {ALSO_ALLOWED: os.pathsep.join(str(folder.resolve()) for folder in self.mounts.folders)}

    @contextlib.contextmanager
    def in_place(self, say: Callable[[str], None], give_up: Callable[[], bool]) -> Iterator[None]:
        """Have everything there that the task names, and send what it writes, while this is held.

        Raises:
            RunFailed: an input cannot be had.
            StaleAttempt: another attempt has the task by now.
        """
        if not self.mounts:
            yield
            return
        for mount in self.mounts:
            if not mount.fault and mount.storage.kind != "local":
                mount.folder.mkdir(parents=True, exist_ok=True)
        texts = command_texts(self._given)
        try:
            self._connect(texts, say)
            named = self._brought(texts, say, give_up)
            kept = [self._job_dir, *(mount.folder / path for mount, path in named)]
            with pinned(self._settings.data_dir, self._given.id, kept):
                self._follow(texts)
                try:
                    yield
                finally:
                    for following in self._followings:
                        following.close()
        finally:
            for store in self._stores.values():
                store.close()

    def _brought(
        self, texts: Sequence[str], say: Callable[[str], None], give_up: Callable[[], bool]
    ) -> set[Name]:
        """Have everything here that the task names; the names. Its TOML files, which come first, name more."""
        named = self._fetched(self._in_stores(texts), say, give_up)
        if self.box is not None:
            box, mount = self.box, self.box.mount
            brought = self._fetch(mount, lambda: list(box.needs().files), say, give_up)
            named |= {(mount, path) for path in brought}
        return named | self._fetched(self._in_stores(self._config_texts()) - named, say, give_up)

    def argv(self, argv: Sequence[str]) -> tuple[str, ...]:
        """A command line with the TOML files that it names replaced by copies in which paths are mapped."""
        copies: dict[str, str] = {}
        for name, file in self._config_files(argv):
            text = text_of(file)
            ours = self.mounts.text(text)
            for old, new in copies.items():
                ours = ours.replace(old, new)
            if ours != text:
                copy = self._job_dir / MAPPED / f"{name}.toml"
                copy.parent.mkdir(exist_ok=True)
                copy.write_text(ours, encoding="utf-8")
                copies[str(file)] = str(copy)
        return tuple(self._with_copies(word, copies) for word in argv)

    def _with_copies(self, word: str, copies: dict[str, str]) -> str:
        option, equals, value = word.partition("=")
        if equals and option.startswith("--"):
            return f"{option}={copies.get(str(self._job_dir / value), value)}"
        return copies.get(str(self._job_dir / word), word)

    def _config_files(self, argv: Sequence[str]) -> list[tuple[str, Path]]:
        """The TOML files of a training, the one that names the other last."""
        if not self.mounts:
            return []
        config = value_of(argv, "config_file")
        dataset = options(argv, self._job_dir, ("dataset_config",)).get("dataset_config", "")
        named = (("dataset_config", self.mounts.text(dataset)), ("config_file", config))
        return [(name, self._job_dir / file) for name, file in named if file]

    def _config_texts(self) -> list[str]:
        """What the TOML files of a training say, but for where it writes."""
        argv = self.task.argv or words(self.task.data) or ()
        return [text for _, file in self._config_files(argv) for text in toml_texts(text_of(file))]

    def _connect(self, texts: Sequence[str], say: Callable[[str], None]) -> None:
        """Open the object stores; say of the mounts that the task names why there is nothing behind them."""
        named = {mount for mount, _ in self.mounts.named(texts)}
        for mount in self.mounts:
            fault = mount.fault
            if self.box is not None and mount is self.box.mount:
                self._stores[mount] = self.box.store
            if mount.place is not None:
                found = credentials.find(mount.place, self._settings.data_dir, credentials.here())
                if found is None:
                    fault = (
                        f"{credentials.why_none(mount.place)}. Its files are those of {mount.folder} alone"
                    )
                else:
                    self._stores[mount] = ObjectStore(mount.place, found)
            if fault and mount in named:
                say(f"— {mount.storage.mount_path}: {fault} —")

    def _in_stores(self, texts: Sequence[str]) -> set[Name]:
        return {
            (mount, path)
            for mount, path in self.mounts.named(texts)
            if mount in self._stores and not mount.of_gateway
        }

    def _fetched(
        self, names: set[Name], say: Callable[[str], None], give_up: Callable[[], bool]
    ) -> set[Name]:
        """Have what is named on this machine; the names."""
        for mount in sorted({mount for mount, _ in names}, key=lambda each: each.storage.mount_path):
            paths = sorted(path for other, path in names if other is mount)
            self._fetch(mount, lambda paths=paths: paths, say, give_up)  # type: ignore[misc]
        return names

    def _fetch(
        self,
        mount: Mount,
        find: Callable[[], list[str]],
        say: Callable[[str], None],
        give_up: Callable[[], bool],
    ) -> list[str]:
        """Have what `find` names on this machine; what it named."""
        budget = int(self._settings.storage_cache_gb * _GB)
        store = self._stores[mount]
        progress = Share("fetching its inputs", self._tell)
        fetcher = Fetcher(mount, store, budget=budget, give_up=give_up, tell=progress)
        began, pause, told = time.monotonic(), FIRST_PAUSE, False
        paths: list[str] = []
        while not give_up():
            try:
                with asking():
                    paths = find()
                    done = fetcher.fetch(paths)
            except StorageUnavailable as error:
                late = time.monotonic() - began > self._settings.storage_patience
                if error.refused or late:
                    self._make_do(mount, paths, error, say)
                    break
                if not told:
                    say(f"— waiting for its inputs: {error} —")
                    told = True
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                if done.files:
                    megabytes = done.bytes / (1 << 20)
                    say(f"— fetched {done.files} files ({megabytes:.1f} MB) from {store.url} —")
                for path in done.kept[:3]:
                    say(f"— {path} was changed here and is not replaced by what the store has —")
                break
        return paths

    def folder(self, path: str, say: Callable[[str], None], give_up: Callable[[], bool]) -> Path | None:
        """A folder that an earlier attempt has left, here; None when it is no more."""
        if self.box is None:
            found = Path(path)
        else:
            inner = self.box.ours(path)
            if inner is None:
                return None
            self._fetch(self.box.mount, lambda: [inner], say, give_up)
            found = self.box.mount.folder / inner
        return found if found.is_dir() else None

    def _make_do(
        self, mount: Mount, paths: list[str], error: StorageUnavailable, say: Callable[[str], None]
    ) -> None:
        """Use what was fetched earlier where there is all of it."""
        missing = [path for path in paths if not (mount.folder / path).exists()]
        if missing or not paths:
            what = repr(missing[0]) if missing else "what it needs"
            raise RunFailed(f"its input {what} could not be fetched: {error}")
        say(f"— {error}; what was fetched earlier is used —")

    def _follow(self, texts: Sequence[str]) -> None:
        argv = self.task.argv or words(self.task.data) or ()
        written = [Path(self._job_dir, self.mounts.text(value)) for value in self._written(argv)]
        named = {mount for mount, _ in self.mounts.named(texts)}
        if self.box is not None:
            self._begin(self.box.follow(self._settings.data_dir, written))
        for mount, store in self._stores.items():
            if mount.storage.read_only or mount.of_gateway:
                continue
            roots = [
                Root(folder, f"{folder.relative_to(mount.folder).as_posix()}/".removeprefix("./"))
                for folder in dict.fromkeys(written)
                if folder.is_relative_to(mount.folder)
            ]
            if not written and mount in named:
                roots.append(Root(mount.folder, ""))
            if mount is self.mounts.results:
                roots.append(Root(self._job_dir, f"jobs/{self._given.id}/"))
            if roots:
                name = f"{self._given.id}-{mount.state.name}"
                self._begin(Following(self._settings.data_dir, name, store, mount.state, roots))

    def _begin(self, following: Following) -> None:
        following.start()
        self._followings.append(following)

    def _written(self, argv: Sequence[str]) -> list[str]:
        return [value for value in options(argv, self._job_dir, WRITTEN).values() if value]

    def notes(self) -> list[str]:
        """Lines for the log of the run about what is being sent."""
        return [line for following in self._followings for line in following.notes()]

    def finish(
        self,
        give_up: Callable[[], bool],
        *,
        stopped: Callable[[], bool],
        also: Path | None = None,
    ) -> tuple[list[str], list[Path]]:
        """Send the rest of what the run has written and wait for that; what the log should say of it, and what of a
        box's results has not reached the gateway.

        `also` is a file that lies elsewhere: the finished LoRA. `give_up` ends the waiting for object stores. The
        gateway, without which nobody would find the results, is waited for until the run is `stopped`.
        """
        said: list[str] = []
        unsent: list[Path] = []
        for following in self._followings:
            boxed = self.box is not None and following is self.box.following
            if also is not None and not any(also.is_relative_to(root.local) for root in following.roots):
                prefix = "loras/"
                if boxed and self.box is not None:
                    prefix = f"{self.box.inner(also.parent)}/"
                following.roots.append(Root(also, prefix))
            also = None
            tell = Share("sending its results", self._tell)
            if boxed:
                unsent = following.finish(math.inf, stopped, tell)
                unsent += [file for file in following.refused if file.exists()]
            left = unsent if boxed else following.finish(self._settings.storage_patience, give_up, tell)
            said += [*following.notes(), _summary(following, left)]
        return said, unsent


class Share:
    """Says how far something is, not more often than somebody could read it."""

    def __init__(self, what: str, tell: Callable[[str], None]) -> None:
        self._what, self._tell = what, tell
        self._at, self._said = 0.0, ""

    def __call__(self, share: float) -> None:
        text = f"{self._what}, {share:.0%}"
        now = time.monotonic()
        if text != self._said and now - self._at > _TOLD_EVERY:
            self._at, self._said = now, text
            self._tell(text)


def _summary(following: Following, left: list[Path]) -> str:
    if not left:
        return f"— {following.sent} files sent to {following.url}, and checked there —"
    some = ", ".join(str(file) for file in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    return f"— not sent to {following.url} yet: {some}. They are safe here and are sent when the store takes them —"


def mapped(task: Task, mounts: Mounts) -> Task:
    """The task with every path below a mount mapped to where that is on this machine."""
    if not mounts:
        return task
    return replace(
        task,
        argv=tuple(mounts.text(word) for word in task.argv) if task.argv is not None else None,
        data=mounts.text(task.data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"),
        environment={name: mounts.text(value) for name, value in task.environment.items()},
    )


def names_a_mount(mounts: Mounts, argv: Sequence[str], job_dir: Path) -> bool:
    """Whether a training, or a TOML file that it is given, names something below a mount."""
    configs = [
        Path(job_dir, value)
        for name in ("config_file", "dataset_config")
        if (value := options(argv, job_dir, (name,)).get(name, "") or value_of(argv, name))
    ]
    return any(mounts.named([*argv, *(text for file in configs for text in toml_texts(text_of(file)))]))
