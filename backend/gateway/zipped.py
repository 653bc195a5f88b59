"""Many files as one zip archive, made while it is sent: nothing of it lies in memory or on the disk.

LoRAs do not get smaller by compression, so they are stored as they are; archives and files over 4 GB are zip64.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_CHUNK = 1 << 20


class _Outlet(io.RawIOBase):
    """A file that can only be written to; `taken` is what was written since the last time."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = memoryview(data)  # type: ignore[arg-type]
        self._written += piece
        return piece.nbytes

    def taken(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data


def archive(files: Iterable[Path]) -> Iterator[bytes]:
    """The bytes of an archive with these files under their own names; one that has gone meanwhile is left out.

    Raises:
        OSError: a file could not be read to its end; what was sent so far is no whole archive.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as whole:
        for path in files:
            try:
                opened = path.open("rb")
            except FileNotFoundError:
                continue
            with opened, whole.open(_entry(path), "w") as entry:
                while data := opened.read(_CHUNK):
                    entry.write(data)
                    yield outlet.taken()
    yield outlet.taken()


def _entry(path: Path) -> zipfile.ZipInfo:
    """With its size, from which the format follows: the stream cannot go back to say it."""
    entry = zipfile.ZipInfo.from_file(path, path.name, strict_timestamps=False)
    entry.compress_type = zipfile.ZIP_STORED
    return entry
