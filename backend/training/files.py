"""Files that are there whole or not at all, readable by everyone the folder is shared with."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

Chunk: TypeAlias = bytes | memoryview
_MODE = 0o644


def write_file(path: Path, chunks: Iterable[Chunk]) -> None:
    """Write a file under another name beside it, then move it into place; on any failure nothing is left.

    Raises:
        OSError: the disk is full or the folder cannot be written; what was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path) as part:
        _write(part, chunks)
        part.replace(path)


def write_folder(path: Path, files: Mapping[str, Iterable[Chunk]]) -> None:
    """As `write_file`, for a whole folder of files; one that was there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path) as part:
        part.mkdir()
        for name, chunks in files.items():
            _write(part / name, chunks)
        remove_folder(path)
        part.rename(path)


def remove_folder(path: Path) -> None:
    """Take a folder away at once, so that nobody sees half of it."""
    if path.exists():
        doomed = _part_name(path, "old")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _part_name(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    part = _part_name(path, "part")
    try:
        yield part
    except BaseException as error:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _write(path: Path, chunks: Iterable[Chunk]) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(_MODE)
