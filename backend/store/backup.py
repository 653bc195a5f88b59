"""Everything a store knows as one file, and back: services, accounts, tasks with their logs, queue items.

    gzip of lines of JSON   {"format": "lorapool-backup", "version": 1, "lorapool": "0.1.0", "at": 1790000000.0}
                            {"key": "…", "type": "hash", "value": […], "ttl": null}      one for each key
                            {"end": 4711, "sha256": "…"}                                  of all lines before

The values are written as what they are, not as the server keeps them, so that a file of Valkey fits Redis and one of
an old server a new one. Bytes stand as the text whose characters have their numbers (Latin-1).

What is read is of one moment: the server holds all changes back meanwhile (CLIENT PAUSE … WRITE), for `LONGEST_PAUSE`
at the most. What can be long, the logs and curves of tasks that have ended, does not change any more and is read first.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import redis

from backend.errors import Conflict, InvalidInput, StoreUnavailable
from backend.store import instances
from backend.store.connection import Store
from backend.store.keys import key

FORMAT, VERSION = "lorapool-backup", 1
LONGEST_PAUSE = 8.0
"""Seconds; an instance that cannot renew its lease for longer would have to end what it runs."""

_OURS = ("lorapool:", "rq:")
_PASSING = (
    *map(key, ("lease", "leader", "gateway", "control", "events", "queue_events", "deployment")),
    *("rq:worker:", "rq:workers", "rq:clean_registries", "rq:scheduler"),
)
"""What says who is alive at the moment, and nothing else."""
_LONG = ("log", "scalars", "files")
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Written:
    """What a backup holds: keys, bytes of the file, and for how long changes had to wait."""

    keys: int
    bytes: int
    paused: float


@dataclass(frozen=True, slots=True)
class Header:
    """Where a backup is from: the version of lorapool, and when (seconds since the epoch)."""

    lorapool: str
    at: float


def write(store: Store, file: Path, *, token: str = "", pause: bool = True) -> Written:
    """Write a backup. `token` is the administrator's, kept in it; the file is for this user alone.

    Without `pause` nobody else may be using the store.

    Raises:
        StoreUnavailable: the store does not answer, or it took too long to read; there is no file then.
    """
    fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as raw:
            out = _Lines(raw)
            header = {
                "format": FORMAT,
                "version": VERSION,
                "lorapool": version("lorapool"),
                "at": time.time(),
            }
            out.write({**header, "token": token})
            paused = _dump(store.redis, out, pause=pause)
            out.end()
            raw.flush()
            os.fsync(raw.fileno())
        fresh.replace(file)
    except redis.RedisError as error:
        raise StoreUnavailable(f"the store could not be read ({error}); no backup was written") from None
    finally:
        fresh.unlink(missing_ok=True)
    return Written(out.count, file.stat().st_size, paused)


class _Lines:
    """The lines of a backup, with their number and their hash."""

    def __init__(self, raw: BinaryIO) -> None:
        self._gzip = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0)
        self._hash = hashlib.sha256()
        self.count = 0

    def write(self, value: dict[str, Any]) -> None:
        line = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self._hash.update(line)
        self._gzip.write(line)
        self.count += "key" in value

    def end(self) -> None:
        last = {"end": self.count, "sha256": self._hash.hexdigest()}
        self._gzip.write(json.dumps(last).encode() + b"\n")
        self._gzip.close()


def _dump(server: redis.Redis, out: _Lines, *, pause: bool) -> float:
    """Write every key; for how long changes waited."""
    done: set[bytes] = set()
    for names in _batches(_long_and_finished(server)):
        _copy(server, names, out)
        done |= set(names)
    began = time.monotonic()
    try:
        if pause:
            server.execute_command("CLIENT", "PAUSE", int(LONGEST_PAUSE * 1000), "WRITE")  # type: ignore[no-untyped-call]
            began = time.monotonic()
        for names in _batches(name for name in _names(server) if name not in done):
            _copy(server, names, out)
        took = time.monotonic() - began
    finally:
        if pause:
            server.execute_command("CLIENT", "UNPAUSE")  # type: ignore[no-untyped-call]
    if pause and took > LONGEST_PAUSE:
        raise StoreUnavailable(
            f"reading the store took {took:.0f} s, longer than changes can wait. No backup was written: stop "
            "lorapool and run this again, or let the server itself make a copy (BGSAVE)."
        )
    return took if pause else 0.0


def _long_and_finished(server: redis.Redis) -> list[bytes]:
    tasks: Any = server.zrange(key("finished"), 0, -1)
    names = [key(kind, task.decode()).encode() for task in tasks for kind in _LONG]
    present: list[bytes] = []
    for batch in _batches(names):
        pipeline = server.pipeline(transaction=False)
        for name in batch:
            pipeline.exists(name)
        present += [name for name, there in zip(batch, pipeline.execute(), strict=True) if there]
    return present


def _names(server: redis.Redis) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for prefix in _OURS:
        for name in server.scan_iter(match=f"{prefix}*", count=1000):
            if name not in seen and not name.decode("utf-8", "replace").startswith(_PASSING):
                seen.add(name)
                yield name


def _batches(names: Any) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for name in names:
        batch.append(name)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _copy(server: redis.Redis, names: Sequence[bytes], out: _Lines) -> None:
    about = server.pipeline(transaction=False)
    for name in names:
        about.type(name)
        about.pttl(name)
    answers = about.execute()
    kinds = [kind.decode() for kind in answers[::2]]
    contents = server.pipeline(transaction=False)
    for name, kind in zip(names, kinds, strict=True):
        if kind != "none":
            _READ[kind](contents, name)
    values = iter(contents.execute())
    for name, kind, ttl in zip(names, kinds, answers[1::2], strict=True):
        if kind == "none":
            continue
        value = _plain(next(values))
        more = {"last": _plain(next(values))} if kind == "stream" else {}
        line = {"key": _plain(name), "type": kind, "value": value, "ttl": ttl if ttl > 0 else None}
        out.write(line | more)


def _read_stream(pipeline: Any, name: bytes) -> None:
    pipeline.xrange(name)
    pipeline.xinfo_stream(name)


_READ: dict[str, Callable[[Any, bytes], Any]] = {
    "string": lambda pipeline, name: pipeline.get(name),
    "hash": lambda pipeline, name: pipeline.hgetall(name),
    "list": lambda pipeline, name: pipeline.lrange(name, 0, -1),
    "set": lambda pipeline, name: pipeline.smembers(name),
    "zset": lambda pipeline, name: pipeline.zrange(name, 0, -1, withscores=True),
    "stream": _read_stream,
}


def _plain(value: Any) -> Any:
    """Bytes as text, containers as lists; scores as what `float` reads back exactly."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict) and "last-generated-id" in value:
        return _plain(value["last-generated-id"])
    if isinstance(value, dict):
        return [[_plain(name), _plain(inner)] for name, inner in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value


def check(file: Path) -> tuple[Header, str]:
    """Read a backup to its end and see that it is whole; where it is from, and the administrator's token in it.

    Raises:
        InvalidInput: it is no backup, or not a whole one, or of a later version.
    """
    hashed, count = hashlib.sha256(), 0
    header: dict[str, Any] | None = None
    for line, value in _lines(file):
        if header is None:
            header = _header(file, value)
        elif "end" in value:
            if value["end"] != count or value["sha256"] != hashed.hexdigest():
                raise _not_whole(file)
            return Header(str(header["lorapool"]), float(header["at"])), str(header.get("token", ""))
        else:
            count += 1
        hashed.update(line)
    raise _not_whole(file)


def _lines(file: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    try:
        with gzip.open(file) as opened:
            for line in opened:
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise _not_whole(file)
                yield line, value
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {file}; nothing was changed") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, gzip.BadGzipFile) and "Not a gzipped" in str(error):
            raise InvalidInput(f"{file} is no backup of lorapool; nothing was changed") from None
        raise _not_whole(file) from None


def _header(file: Path, value: dict[str, Any]) -> dict[str, Any]:
    if value.get("format") != FORMAT:
        raise InvalidInput(f"{file} is no backup of lorapool; nothing was changed")
    if value.get("version") != VERSION:
        raise InvalidInput(
            f"{file} was written by lorapool {value.get('lorapool')}, in a form that this one does not read "
            f"({value.get('version')} instead of {VERSION}); nothing was changed. Install that version or a later one."
        )
    return value


def _not_whole(file: Path) -> InvalidInput:
    return InvalidInput(f"{file} is damaged or was cut off; nothing was changed. Use another backup.")


def read_into(store: Store, file: Path, *, replace: bool) -> int:
    """Put a backup into a store that holds nothing of lorapool, or in the place of what it holds; keys written.

    Instances of then are no more: what they ran goes back to its queue, without counting as a failed delivery.

    Raises:
        InvalidInput: the file is no whole backup; nothing was changed.
        Conflict: the store is in use, or holds something and `replace` is not wanted; nothing was changed.
    """
    check(file)
    server = store.redis
    if store.run(instances.leader()) is not None:
        raise Conflict("lorapool runs on this store. Nothing was changed: stop it first.")
    old = [name for prefix in _OURS for name in server.scan_iter(match=f"{prefix}*", count=1000)]
    if old and not replace:
        raise Conflict(
            f"the store holds {len(old)} keys of a lorapool already. Nothing was changed: restore into an empty data "
            "folder, or say --replace to have them removed."
        )
    for batch in _batches(old):
        server.unlink(*batch)
    count = 0
    pipeline = server.pipeline(transaction=False)
    for _, value in _lines(file):
        if "key" not in value:
            continue
        _restore(pipeline, value)
        count += 1
        if count % _AT_ONCE == 0:
            pipeline.execute()
    pipeline.execute()
    for instance in store.run(instances.ids()):
        gone = instances.gone(instance, "restored from a backup", counted=False, max_delivery=0)
        store.run(gone)
    return count


def _restore(pipeline: Any, line: dict[str, Any]) -> None:
    name, value = _bytes(line["key"]), line["value"]
    match line["type"]:
        case "string":
            pipeline.set(name, _bytes(value))
        case "hash":
            pipeline.hset(name, mapping={_bytes(field): _bytes(inner) for field, inner in value})
        case "list":
            pipeline.rpush(name, *map(_bytes, value))
        case "set":
            pipeline.sadd(name, *map(_bytes, value))
        case "zset":
            pipeline.zadd(name, {_bytes(member): float(score) for member, score in value})
        case "stream":
            for entry, fields in value:
                pipeline.xadd(name, {_bytes(f): _bytes(v) for f, v in fields}, id=_bytes(entry))
            if not value:
                pipeline.xadd(name, {b"-": b"-"}, id=b"0-1")
                pipeline.xtrim(name, maxlen=0, approximate=False)
            pipeline.execute_command("XSETID", name, _bytes(line["last"]))
    if line["ttl"]:
        pipeline.pexpire(name, line["ttl"])


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
