"""Files of the data folder as the gateway lists them for boxes, and as it takes them from there.

What arrives is written beside its place under a hidden name, and takes its place when it has the hash that it should:
nobody ever sees half a file. Blocking: for threads.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from backend.errors import InvalidInput, LorapoolError
from backend.storage.gateway import NO_SPACE
from backend.storage.records import sha256_of

SPARE = 256 << 20
"""Bytes of the gateway's disk that are left free: the store's file has to grow, too."""
_UPLOAD = re.compile(r"[0-9a-f]{8,64}")


class NoSpace(LorapoolError):
    """The disk of the data folder is full. The box keeps the file, and sends it when there is room."""

    status = NO_SPACE


class Damaged(LorapoolError):
    """What came is not what was sent; it is sent again."""

    status = 503


def trouble(error: OSError) -> LorapoolError:
    """What a box is told of an error of the disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace("the disk of the data folder is full; the file waits on its box until there is room")
    return LorapoolError(f"the data folder cannot be used: {error.strerror or error}")


def tag_of(status: os.stat_result) -> str:
    """The entity tag of a file: another one whenever it was written to."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def listing(file: Path, path: str, root: Path) -> list[dict[str, object]]:
    """A file, or all below a folder, as `path` names it. A link counts as what it leads to, if that is inside `root`;
    linked folders within are not gone into."""
    found = []
    for each, name in _files(file, path):
        try:
            if each.is_symlink() and not each.resolve().is_relative_to(root):
                continue
            status = each.stat()
        except OSError:
            continue
        found.append({"path": name, "size": status.st_size, "etag": tag_of(status)})
    return found


def _files(file: Path, path: str) -> Iterator[tuple[Path, str]]:
    if file.is_file():
        yield file, path
        return
    for folder, inner, names in os.walk(file):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            each = Path(folder, name)
            if not name.startswith(".") and each.is_file():
                yield each, f"{path}/{each.relative_to(file).as_posix()}"


def _room(file: Path, size: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(file.parent).free < size + SPARE:
        raise NoSpace("the disk of the data folder is full; the file waits on its box until there is room")


def put(file: Path, data: bytes, sha256: str) -> None:
    """Write a small file, whole or not at all."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Damaged(f"{file.name} was damaged on its way; it is sent again")
    _room(file, len(data))
    fresh = part_of(file, secrets.token_hex(12))
    try:
        fresh.write_bytes(data)
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)


def part_of(file: Path, upload: str) -> Path:
    """Where the parts of an upload are put together."""
    if not _UPLOAD.fullmatch(upload):
        raise InvalidInput("`upload` is no id of an upload; nothing was changed")
    return file.with_name(f".{file.name}.{upload}.part")


def parts(part: Path, size: int) -> tuple[list[str], os.stat_result | None, hashlib._Hash]:
    """The MD5 of each whole part that has arrived; what the file was, None when it was written to meanwhile or is not
    there; the SHA-256 of those parts."""
    found: list[str] = []
    sha256 = hashlib.sha256()
    try:
        with part.open("rb") as opened:
            before = os.fstat(opened.fileno())
            while len(data := opened.read(size)) == size:
                found.append(hashlib.md5(data, usedforsecurity=False).hexdigest())
                sha256.update(data)
            after = os.fstat(opened.fileno())
    except FileNotFoundError:
        return [], None, sha256
    return found, after if tag_of(before) == tag_of(after) else None, sha256


def put_part(part: Path, offset: int, data: bytes, md5: str) -> tuple[os.stat_result, os.stat_result]:
    """Write a part where it belongs: no further than what is there already. The file's status before and after."""
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
        raise Damaged("a part was damaged on its way; it is sent again")
    _room(part, len(data))
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as opened:
        before = os.fstat(descriptor)
        if offset > before.st_size:
            raise Damaged("what comes before this part is missing; it is sent again from there")
        opened.seek(offset)
        opened.write(data)
        opened.truncate()
        opened.flush()
        return before, os.fstat(descriptor)


def complete(part: Path, file: Path, sha256: str, found: str = "") -> None:
    """Have the parts take the place of the file. `found` is their SHA-256 where it was worked out as they came."""
    if not part.exists() and file.exists() and sha256_of(file) == sha256:
        return  # the answer to the first time this was asked got lost
    if not part.exists() or (found or sha256_of(part)) != sha256:
        part.unlink(missing_ok=True)
        raise Damaged(f"{file.name} was damaged on its way; it is sent again")
    with part.open("rb") as opened:
        os.fsync(opened.fileno())
    part.replace(file)


def remove(file: Path) -> None:
    """Remove a file, and the folder that it leaves empty."""
    file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        file.parent.rmdir()
