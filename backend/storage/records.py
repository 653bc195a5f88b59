"""What this machine knows of files that have a counterpart in an object store: one small JSON file for each.

    mounts/<place>/…                  the files themselves
    mounts/.state/<place>/<hash>.json what is known of one of them
    mounts/.state/<place>/<hash>.lock held while it is fetched or sent: by one process of the machine at a time

A record is replaced as a whole, so that a kill at any moment leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

STATE = ".state"


@dataclass(frozen=True, slots=True)
class Record:
    """One file. `path` is its path below the place, `file` where it lies here.

    `size`, `mtime_ns` and `sha256` are the file's as of when it was known to be the same as the object with `etag`;
    `fetched` says that it came from there, and may go again when room is needed. `upload` and `part_size` are those
    of an upload in parts that was begun for the file with `size` and `mtime_ns`, `etag` is empty then.
    """

    path: str
    file: str
    size: int
    mtime_ns: int
    sha256: str = ""
    etag: str = ""
    fetched: bool = False
    used_at: float = 0.0
    upload: str = ""
    part_size: int = 0

    def is_of(self, status: os.stat_result) -> bool:
        """Whether the file is as it was when this was written."""
        return (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)


class Records:
    """The records of one place. Safe to use from many processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _name(self, path: str) -> str:
        return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:40]

    def get(self, path: str) -> Record | None:
        """The record of a path; None when there is none, or it is damaged (the file is looked at anew then)."""
        return _read(self.folder / f"{self._name(path)}.json")

    def put(self, record: Record) -> None:
        """Keep a record in the place of the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{self._name(record.path)}.json"
        fresh = target.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(json.dumps(asdict(record)), encoding="utf-8")
        fresh.replace(target)

    def forget(self, path: str) -> None:
        """Remove a record."""
        (self.folder / f"{self._name(path)}.json").unlink(missing_ok=True)

    def all(self) -> Iterator[Record]:
        """Every record."""
        for file in sorted(self.folder.glob("*.json")):
            if record := _read(file):
                yield record

    def temporary(self, path: str, etag: str) -> Path:
        """Where one version of the object is written until it is complete; on the same file system as the files.

        What came of an earlier version is removed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = self._name(path)
        fresh = self.folder / f"{name}-{hashlib.sha256(etag.encode()).hexdigest()[:8]}.part"
        for older in self.folder.glob(f"{name}-*.part"):
            if older != fresh:
                older.unlink(missing_ok=True)
        return fresh

    @contextlib.contextmanager
    def locked(self, path: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the file for this process; False when another has it and `wait` is not wanted."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with held(self.folder / f"{self._name(path)}.lock", wait=wait) as mine:
            yield mine


@contextlib.contextmanager
def held(lock: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock file; whether it is held. The lock ends with the process, however that ends."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def md5_of(file: Path) -> str:
    """The MD5 of a file, in hexadecimal: what many stores use as the entity tag."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _read(file: Path) -> Record | None:
    try:
        return Record(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
