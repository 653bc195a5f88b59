"""SHA-256 of files of the data folder, as the gateway knows them without reading a file once more than it must.

A file that goes out is hashed while it goes, one that arrives in parts while the next part is on its way. What is
worked out belongs to one version of a file, by its entity tag; whatever else has been written makes it unknown, and
the file is read. All for one event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from backend.storage import incoming
from backend.storage.incoming import tag_of
from backend.storage.records import sha256_of

_REMEMBERED = 50_000
_UPLOADS = 64


class Hashes:
    """SHA-256 of files, each worked out once for each version of it."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[str, str]] = {}
        self._one = asyncio.Semaphore(1)  # the disk reads one file as fast as two

    async def of(self, file: Path) -> tuple[str, str]:
        """Entity tag and SHA-256."""
        tag = tag_of(file.stat())
        async with self._one:
            known = self._known.get(file)
            if known is None or known[0] != tag:
                known = (tag, await asyncio.to_thread(sha256_of, file))
                self.keep(file, *known)
        return known

    def known(self, file: Path, tag: str) -> str:
        """The SHA-256 of this version of a file; '' when it was not worked out yet."""
        found = self._known.get(file)
        return found[1] if found is not None and found[0] == tag else ""

    def keep(self, file: Path, tag: str, sha256: str) -> None:
        """Remember that of a version of a file."""
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[file] = (tag, sha256)

    def note(self, file: Path, sha256: str) -> None:
        """Remember that of a file that has just arrived."""
        self.keep(file, tag_of(file.stat()), sha256)


@dataclass
class _Begun:
    """The first `size` bytes of a file that had this `tag` when they had been written."""

    size: int = 0
    tag: str = ""
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    last: asyncio.Task[None] | None = None

    async def settled(self) -> None:
        """Wait until the last part is in the hash."""
        if self.last is not None:
            await self.last

    def take(self, data: bytes) -> None:
        self.size += len(data)
        self.last = asyncio.create_task(asyncio.to_thread(self.sha256.update, data))


class Uploads:
    """Files that arrive in parts. While one is at a file nobody else finds what is known of it."""

    def __init__(self) -> None:
        self._begun: dict[Path, _Begun] = {}

    async def put_part(self, part: Path, offset: int, data: bytes, md5: str) -> None:
        """Write a part, and have it hashed while the next one comes."""
        begun = self._begun.pop(part, None)
        before, after = await asyncio.to_thread(incoming.put_part, part, offset, data, md5)
        if offset == 0:
            begun = _Begun()
        elif begun is None or (begun.size, begun.tag) != (offset, tag_of(before)):
            return  # there is more, or other, than what was hashed
        await begun.settled()
        if after.st_size == offset + len(data):
            begun.tag = tag_of(after)
            begun.take(data)
            self._keep(part, begun)

    async def parts(self, part: Path, size: int) -> list[str]:
        """The MD5 of each whole part that is there; what this reads is hashed, so that an upload can go on."""
        begun = self._begun.pop(part, None)
        found, status, sha256 = await asyncio.to_thread(incoming.parts, part, size)
        if status is not None and (begun is None or begun.tag != tag_of(status)):
            begun = _Begun(len(found) * size, tag_of(status), sha256)
        if begun is not None:
            self._keep(part, begun)
        return found

    async def sha256(self, part: Path) -> str:
        """That of all that has arrived; '' when it is not known and the file has to be read."""
        begun = self._begun.pop(part, None)
        if begun is None:
            return ""
        await begun.settled()
        try:
            status = part.stat()
        except FileNotFoundError:
            return ""
        return begun.sha256.hexdigest() if (begun.size, begun.tag) == (status.st_size, tag_of(status)) else ""

    def _keep(self, part: Path, begun: _Begun) -> None:
        while len(self._begun) >= _UPLOADS:
            del self._begun[next(iter(self._begun))]
        self._begun[part] = begun


def read_and_hash(descriptor: int, size: int, sha256: hashlib._Hash | None) -> bytes:
    """The next bytes of a file, at most `size` and fewer only at its end; `sha256` takes them in. For a thread."""
    pieces = []
    while size and (data := os.read(descriptor, size)):
        pieces.append(data)
        size -= len(data)
    found = b"".join(pieces)
    if sha256 is not None:
        sha256.update(found)
    return found
