"""From `storage[]` to folders of this machine.

A task names files as its author knows them, below a `mount_path` such as `/workspace`. Mounting there takes root, so
what it names is mapped instead: each path below a mount becomes one below the folder that stands for the mount, in
command lines, in variables, and in the TOML files that a training is given. A program that has such a path built into
itself does not see the mapping.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from backend.paths import MOUNTS
from backend.service import Description, NfsPlace, ObjectPlace, Storage
from backend.storage.records import STATE

_BEFORE = r"(?<![\w.\-/])"
_BEHIND = r"(?=[/\s\"'`,:;)\]}&|<>]|$)"
_INNER = r"((?:/[^\s\"'`,:;)\]}&|<>]*)?)"
_GATEWAY = "gateway"
_MOUNT_TABLE = Path("/proc/self/mounts")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount and the folder that stands for it; `fault` says why there is none.

    `of_gateway`: it is the data folder of a deployment, which this box does not see.
    """

    storage: Storage
    folder: Path
    state: Path
    fault: str = ""
    of_gateway: bool = False

    @property
    def place(self) -> ObjectPlace | None:
        """The object store behind it."""
        return self.storage.object


class Mounts(tuple[Mount, ...]):
    """The mounts of one service, on this machine."""

    @property
    def folders(self) -> list[Path]:
        """The folders that its tasks may use."""
        return [mount.folder for mount in self if not mount.fault]

    def text(self, text: str) -> str:
        """A text with every path below a mount mapped to where that is here."""
        known = {mount.storage.mount_path: str(mount.folder) for mount in self if not mount.fault}
        if not known:
            return text
        longest_first = "|".join(re.escape(path) for path in sorted(known, key=len, reverse=True))
        return re.sub(f"{_BEFORE}({longest_first}){_BEHIND}", lambda found: known[found[1]], text)

    def named(self, texts: Sequence[str]) -> Iterator[tuple[Mount, str]]:
        """The files and folders below mounts that words of a command line, or other texts, name: relative paths.

        A text that is one path, or an option with one, may have blanks in it.
        """
        for text in texts:
            whole = text.partition("=")[2] if text.startswith("-") and "=" in text else text
            mount = self.of(whole)
            if mount is not None and "\n" not in whole:
                yield mount, _inner(whole, mount)
                continue
            for mount in self:
                pattern = f"{_BEFORE}{re.escape(mount.storage.mount_path)}{_BEHIND}{_INNER}"
                for found in re.finditer(pattern, text):
                    if self.of(found[0]) is mount:
                        yield mount, found[1].strip("/")

    def of(self, path: str) -> Mount | None:
        """The mount that a path lies in: the innermost."""
        if not path.startswith("/"):
            return None
        parts = PurePosixPath(os.path.normpath(path))
        fitting = [mount for mount in self if parts.is_relative_to(PurePosixPath(mount.storage.mount_path))]
        return max(fitting, key=lambda mount: len(mount.storage.mount_path), default=None)

    @property
    def results(self) -> Mount | None:
        """Where job folders go: the first object store that may be written."""
        return next((m for m in self if m.place is not None and not m.storage.read_only), None)


def mounts_of(description: Description, data_dir: Path, *, instance: str = "", files_of: str = "") -> Mounts:
    """The mounts of a service on this machine. Makes nothing. `instance` names whose empty folders are meant.

    `files_of`: the deployment's data folder where this box does not see it: the box's own stands for that.
    """
    found = [_mount(each, data_dir, description.name, instance) for each in description.storage]
    if files_of:
        state = data_dir / MOUNTS / STATE / _GATEWAY
        found.append(Mount(Storage(mount_path=files_of), data_dir.resolve(), state, of_gateway=True))
    return Mounts(found)


def _mount(storage: Storage, data_dir: Path, service: str, instance: str) -> Mount:
    root = data_dir / MOUNTS
    if (place := storage.object) is not None:
        name = _slug(place.url, place.endpoint)
        return Mount(storage, root / name, root / STATE / name)
    if storage.local is not None:
        folder = Path(storage.local.path)
        fault = "" if folder.is_dir() else f"there is no folder {folder} on this machine"
        return Mount(storage, folder.resolve(), root / STATE, fault)
    if storage.git is not None:
        name = _slug(storage.git.repo, storage.git.branch, storage.git.commit)
        return Mount(storage, root / name, root / STATE / name)
    if storage.nfs is not None:
        found = mounted_at(storage.nfs, _table())
        return Mount(
            storage, found or Path(storage.mount_path), root / STATE, "" if found else _by_root(storage.nfs)
        )
    name = _slug(storage.mount_path, service, instance)
    fault = "" if storage.kind == "empty" else "only EAS knows what this is"
    return Mount(storage, root / "empty" / name, root / STATE / name, fault)


def _slug(address: str, *more: str) -> str:
    """A folder name that a person recognises, another one for each address."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", address.partition("://")[2] or address).strip("-")[-40:].strip("-")
    return f"{plain}-{hashlib.sha256(' '.join((address, *more)).encode()).hexdigest()[:8]}"


def mounted_at(place: NfsPlace, table: Mapping[str, str]) -> Path | None:
    """Where an NFS folder, or one around it, is mounted on this machine. `table`: source to mount point."""
    wanted = PurePosixPath("/", place.path.strip("/"))
    for folder in (wanted, *wanted.parents):
        point = table.get(f"{place.server}:{folder}")
        if point is not None:
            return Path(point, wanted.relative_to(folder))
    return None


def _table() -> dict[str, str]:
    try:
        lines = [line.split() for line in _MOUNT_TABLE.read_text().splitlines()]
    except OSError:
        return {}
    return {
        line[0].rstrip("/") if not line[0].endswith(":/") else line[0]: line[1].replace("\\040", " ")
        for line in lines
        if len(line) > 2 and line[2].startswith("nfs")
    }


def _by_root(place: NfsPlace) -> str:
    return (
        f"{place.server}:{place.path} is not mounted on this machine, and only root can mount it: "
        f"mount -t nfs {place.server}:{place.path} FOLDER (any folder; it is found by itself)"
    )


def _inner(path: str, mount: Mount) -> str:
    inner = PurePosixPath(os.path.normpath(path)).relative_to(mount.storage.mount_path).as_posix()
    return "" if inner == "." else inner
