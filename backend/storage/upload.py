"""One file to an object store: whole or in parts, taken up again where it broke off, checked when it is there.

What is sent carries its MD5, so that the store itself refuses bytes that changed on the way; the SHA-256 of the whole
file goes along as metadata. A large file goes in parts whose upload is noted first: after a crash of either side the
parts that the store has are not sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from backend.errors import StorageUnavailable
from backend.storage.objects import Part, Remote
from backend.storage.records import Record, Records, sha256_of
from backend.storage.source import Source

ONE_PIECE = 8 << 20
"""Bytes up to which a file is sent in one request, and of which a part has at least as many."""
MOST_PARTS = 9_000


class Changed(Exception):
    """The file was written to while it was being sent; it is sent again when it rests."""


def part_size(size: int) -> int:
    """Bytes of a part: S3 takes 10,000 of them."""
    return max(ONE_PIECE, -(-size // MOST_PARTS))


def is_sent(record: Record | None, status: os.stat_result) -> bool:
    """Whether the store has the file as it is now."""
    return record is not None and bool(record.etag) and record.is_of(status)


def send(
    store: Source,
    records: Records,
    file: Path,
    path: str,
    *,
    moved: Callable[[int], None] = lambda _: None,
    give_up: Callable[[], bool] = lambda: False,
) -> bool:
    """Bring a file to `path` of the store. False when another process of this machine is at it.

    `moved` hears of bytes that got there.

    Raises:
        StorageUnavailable: the store did not take it; what it has of it is kept for the next try.
        Unwanted: the store has no use for it.
        Changed: the file is being written to.
        FileNotFoundError: it is gone.
    """
    with records.locked(path, wait=False) as mine:
        if not mine:
            return False
        status = file.stat()
        record = records.get(path)
        if is_sent(record, status):
            return True
        sha256 = sha256_of(file)
        if record is not None and record.etag and (record.size, record.sha256) == (status.st_size, sha256):
            records.put(replace(record, mtime_ns=status.st_mtime_ns))
            return True
        if status.st_size <= ONE_PIECE:
            expected = _in_one_piece(store, file, path, sha256)
            moved(status.st_size)
        else:
            begun, there = _begun(store, records, record, _Wanted(file, path, status, sha256))
            expected = _in_parts(store, begun, there, file, moved, give_up)
        if not Record(path, "", status.st_size, status.st_mtime_ns).is_of(file.stat()):
            raise Changed(path)
        remote = _checked(store, path, status.st_size, sha256, expected)
        records.put(
            Record(
                path,
                str(file),
                status.st_size,
                status.st_mtime_ns,
                sha256=sha256,
                etag=remote.etag,
                fetched=store.leads,
                used_at=time.time(),
            )
        )
        return True


def _in_one_piece(store: Source, file: Path, path: str, sha256: str) -> str:
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Changed(path)
    store.put(path, data, sha256)
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class _Wanted:
    """What is to be sent in parts."""

    def __init__(self, file: Path, path: str, status: os.stat_result, sha256: str) -> None:
        self.file, self.path, self.status, self.sha256 = file, path, status, sha256


def _begun(
    store: Source, records: Records, record: Record | None, wanted: _Wanted
) -> tuple[Record, list[Part]]:
    """The record of an upload in parts, and the parts that are there: of the one that broke off, if it was of this
    very file, else of a new one."""
    if record is not None and record.upload:
        same = record.is_of(wanted.status) and record.sha256 == wanted.sha256
        there = store.parts(wanted.path, record.upload, part_size=record.part_size) if same else None
        if there is not None:
            return record, there
        store.abandon(wanted.path, record.upload)
    fresh = Record(
        wanted.path,
        str(wanted.file),
        wanted.status.st_size,
        wanted.status.st_mtime_ns,
        sha256=wanted.sha256,
        upload=store.begin(wanted.path, wanted.sha256),
        part_size=part_size(wanted.status.st_size),
    )
    records.put(fresh)
    return fresh, store.parts(wanted.path, fresh.upload, part_size=fresh.part_size) or []


def _in_parts(
    store: Source,
    begun: Record,
    found: list[Part],
    file: Path,
    moved: Callable[[int], None],
    give_up: Callable[[], bool],
) -> str:
    """Send what is missing and put it together; the entity tag that the whole should have."""
    there = {part.number: part for part in found}
    parts: list[Part] = []
    digests = b""
    with contextlib.closing(_read_ahead(file, begun)) as ahead:
        for number, data, digest in ahead:
            if give_up():
                raise StorageUnavailable(f"sending {begun.path} was broken off; it goes on later")
            digests += digest.digest()
            have = there.get(number)
            if have is None or have.etag.strip('"') != digest.hexdigest():
                offset, md5 = (number - 1) * begun.part_size, digest.hexdigest()
                have = store.put_part(begun.path, begun.upload, number, data, offset=offset, md5=md5)
                moved(len(data))
            parts.append(have)
    store.complete(begun.path, begun.upload, parts, begun.sha256)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


def _read_ahead(file: Path, begun: Record) -> Generator[tuple[int, bytes, hashlib._Hash], None, None]:
    """Each part with its number and MD5: the next one is read and hashed while the one before is on its way."""

    def read() -> tuple[bytes, hashlib._Hash]:
        data = opened.read(begun.part_size)
        return data, hashlib.md5(data, usedforsecurity=False)

    with file.open("rb") as opened, ThreadPoolExecutor(1) as reader:
        # Up to the size it had: a file that grows as fast as it is sent would have no end.
        count = -(-begun.size // begun.part_size)
        coming = reader.submit(read)
        for number in range(1, count + 1):
            data, digest = coming.result()
            if number < count:
                coming = reader.submit(read)
            yield number, data, digest


def _checked(store: Source, path: str, size: int, sha256: str, expected: str) -> Remote:
    """What the store has at `path` now, seen to be what was sent: by size, and by one of the two hashes."""
    remote, noted = store.head(path)
    same_hash = noted == sha256 if noted else remote.etag == expected
    if remote.size != size or not same_hash:
        raise StorageUnavailable(
            f"{store.url}{path} is not what was sent ({remote.size} of {size} bytes); it is sent again"
        )
    return remote
