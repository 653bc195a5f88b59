"""Files of the data folder for boxes that do not see it: `/api/v1/box`, with the deployment's token.

    GET    /                  the data folder, and a probe in it by which a box sees whether it has the same one
    GET    /needs             what the task needs
    GET    /list?path=        a file, or all below a folder: path, size, entity tag
    GET    /hash?path=        one file with its SHA-256
    GET    /files/<path>      its bytes from `Range: bytes=N-` on, if it is still what `If-Match` says
    PUT    /files/<path>      a small file whole, `sha256` in the query
    DELETE /files/<path>      one that the run has removed
    GET    /parts/<path>      of an upload in parts: the MD5 of each one of `size` bytes that is there
    PUT    /parts/<path>      one part, at `offset`, with its `md5`
    DELETE /parts/<path>      forget the upload
    POST   /complete/<path>   the parts become the file, if they have the `sha256` that they should
    POST   /publish/<path>    a finished LoRA under `loras/`, too

All but the first name an attempt of a task in their headers (see `box_rights.py`). A file that is being written is
beside its place, hidden, and takes its place when it is complete. Like the queue protocol this goes past FastAPI: a
model has gigabytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from backend import links, paths
from backend.errors import InvalidInput, LorapoolError, NotFound
from backend.gateway import answers
from backend.gateway.answers import json_answer
from backend.gateway.body import read_body
from backend.gateway.box_rights import Permit, Permits
from backend.gateway.context import Gateway
from backend.storage import incoming
from backend.storage.gateway import PREFIX, SHA256
from backend.storage.hashes import Hashes, Uploads, read_and_hash
from backend.storage.incoming import tag_of
from backend.store import accounts
from backend.worker import result_file

_CHUNK = 1 << 20
_LARGEST_BODY = 64 << 20
_BODY_SECONDS = 300.0
_PROBE, _PROBE_SECONDS = ".probe-", 60.0


class Changed(LorapoolError):
    """The file is not the one that was asked for any more."""

    status = 412


class BoxFiles:
    """The application."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._permits = Permits(gateway)
        self._hashes = Hashes()
        self._uploads = Uploads()
        self._root = gateway.settings.data_dir
        self._json: dict[tuple[str, str], Callable[[Permit, str, Request], Awaitable[object]]] = {
            ("GET", "needs"): self._needs,
            ("GET", "list"): self._list,
            ("GET", "hash"): self._hash,
            ("PUT", "files"): self._put,
            ("DELETE", "files"): self._remove,
            ("GET", "parts"): self._parts,
            ("PUT", "parts"): self._put_part,
            ("DELETE", "parts"): self._abandon,
            ("POST", "complete"): self._complete,
            ("POST", "publish"): self._publish,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        what, _, path = scope["path"].removeprefix(PREFIX).strip("/").partition("/")
        try:
            caller = await self._gateway.authority.caller(
                request.headers.get("authorization", ""), None, None
            )
            caller.need_administrator()
            if (request.method, what) == ("GET", "files"):
                permit = await self._permits.of(request.headers, fresh=False)
                await self._send(permit.to_read(path), request, send)
                return
            response = json_answer(await self._answer(request, what, path))
        except LorapoolError as error:
            response = answers.from_error(error)
        except ClientDisconnect:
            return
        except OSError as error:
            response = answers.from_error(incoming.trouble(error))
        except Exception as error:
            response = answers.from_bug(request.method, scope["path"], error)
        await response(scope, receive, send)

    async def _answer(self, request: Request, what: str, path: str) -> object:
        if (request.method, what) == ("GET", ""):
            asyncio.get_running_loop().call_later(_PROBE_SECONDS, self._forget_probes, _PROBE_SECONDS)
            return await asyncio.to_thread(self._about)
        handler = self._json.get((request.method, what))
        if handler is None:
            raise NotFound(f"{request.method} {request.url.path}: there is no such thing")
        replaces = request.method != "GET" and what != "parts"
        permit = await self._permits.of(request.headers, fresh=replaces)
        return await handler(permit, path or request.query_params.get("path", ""), request)

    def _about(self) -> object:
        """The link key goes along so that the apps of a box sign links that are good here."""
        self._forget_probes(_PROBE_SECONDS)
        name, text = f"{_PROBE}{secrets.token_hex(8)}", secrets.token_hex(16)
        (self._root / name).write_text(text)
        return {
            "version": version("lorapool"),
            "data_dir": str(self._root),
            "probe": {"name": name, "text": text},
            "link_key": links.key(self._root).hex(),
        }

    def _forget_probes(self, age: float) -> None:
        for old in self._root.glob(f"{_PROBE}*"):
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime >= age:
                    old.unlink()

    async def _needs(self, permit: Permit, path: str, request: Request) -> object:
        needs = permit.scope.needs
        return {"files": needs.files, "data": needs.data, "fault": needs.fault}

    async def _list(self, permit: Permit, path: str, request: Request) -> object:
        found = await asyncio.to_thread(incoming.listing, permit.to_read(path), path, self._root.resolve())
        return {"files": found}

    async def _hash(self, permit: Permit, path: str, request: Request) -> object:
        # What was sent is looked at, too, by whoever may write it.
        written = permit.scope.may_write(path, exists=False)
        file = permit.own(path) if written else permit.to_read(path)
        _need_file(file, path)
        tag, sha256 = await self._hashes.of(file)
        return {"path": path, "size": file.stat().st_size, "etag": tag, "sha256": sha256}

    async def _send(self, file: Path, request: Request, send: Send) -> None:
        """A file's bytes, with its SHA-256 where that is known by then; else it is worked out while they go."""
        _need_file(file, file.name)
        descriptor = await asyncio.to_thread(os.open, file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            tag = tag_of(status)
            if request.headers.get("if-match", "").strip('"') != tag:
                raise Changed(f"{file.name} has changed; ask for it anew")
            begin = os.lseek(descriptor, _beginning(request.headers.get("range", "")), os.SEEK_SET)
            left = max(0, status.st_size - begin)
            hashing = None if begin or self._hashes.known(file, tag) else hashlib.sha256()
            data = await asyncio.to_thread(read_and_hash, descriptor, min(_CHUNK, left), hashing)
            self._note_sent(file, descriptor, tag, hashing if len(data) == left else None)
            headers = [
                (b"content-length", str(left).encode()),
                (b"content-type", b"application/octet-stream"),
                (SHA256.encode(), self._hashes.known(file, tag).encode()),
            ]
            await send({"type": "http.response.start", "status": 206, "headers": headers})
            while left:
                if not data or await request.is_disconnected():
                    # Cut short by somebody: the connection ends before what was promised, and the box notices.
                    raise ClientDisconnect
                left -= len(data)
                await send({"type": "http.response.body", "body": data, "more_body": bool(left)})
                data = await asyncio.to_thread(read_and_hash, descriptor, min(_CHUNK, left), hashing)
            if not status.st_size - begin:
                await send({"type": "http.response.body", "body": b""})
            self._note_sent(file, descriptor, tag, hashing)
        finally:
            os.close(descriptor)

    def _note_sent(self, file: Path, descriptor: int, tag: str, hashed: hashlib._Hash | None) -> None:
        """Remember the hash of a file that was read from its beginning to its end, if it is still what it was then."""
        if hashed is not None and tag_of(os.fstat(descriptor)) == tag:
            self._hashes.keep(file, tag, hashed.hexdigest())

    async def _body(self, request: Request) -> bytes:
        return await read_body(request.receive, limit=_LARGEST_BODY, seconds=_BODY_SECONDS)

    async def _put(self, permit: Permit, path: str, request: Request) -> object:
        file = permit.to_write(path)
        sha256 = request.query_params.get("sha256", "")
        data = await self._body(request)
        await asyncio.to_thread(incoming.put, file, data, sha256)
        self._hashes.note(file, sha256)
        return {}

    async def _remove(self, permit: Permit, path: str, request: Request) -> object:
        file = permit.to_write(path)
        await asyncio.to_thread(incoming.remove, file)
        return {}

    async def _parts(self, permit: Permit, path: str, request: Request) -> object:
        part, size = self._part(permit, path, request), _number(request, "size")
        return {"parts": await self._uploads.parts(part, max(1, size))}

    async def _put_part(self, permit: Permit, path: str, request: Request) -> object:
        part = self._part(permit, path, request)
        data = await self._body(request)
        offset, md5 = _number(request, "offset"), request.query_params.get("md5", "")
        await self._uploads.put_part(part, offset, data, md5)
        return {}

    async def _abandon(self, permit: Permit, path: str, request: Request) -> object:
        self._part(permit, path, request).unlink(missing_ok=True)
        return {}

    async def _complete(self, permit: Permit, path: str, request: Request) -> object:
        part, sha256 = self._part(permit, path, request), request.query_params.get("sha256", "")
        file = permit.to_write(path)
        found = await self._uploads.sha256(part)
        await asyncio.to_thread(incoming.complete, part, file, sha256, found)
        self._hashes.note(file, sha256)
        return {}

    def _part(self, permit: Permit, path: str, request: Request) -> Path:
        return incoming.part_of(permit.to_write(path), request.query_params.get("upload", ""))

    async def _publish(self, permit: Permit, path: str, request: Request) -> object:
        file = permit.to_write(path)
        _need_file(file, path)
        loras = permit.root / paths.LORAS
        published = await asyncio.to_thread(result_file.published, file, loras, permit.task.id)
        inner = published.relative_to(permit.root).as_posix()
        if permit.task.user:
            await self._gateway.store.run(accounts.claim(inner, permit.task.user))
        return {"path": inner}


def _need_file(file: Path, path: str) -> None:
    if not file.is_file():
        raise NotFound(f"there is no file {path!r} in the data folder")


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not text.isdecimal() or len(text) > 15:
        raise InvalidInput(f"{name} is a whole number; nothing was changed")
    return int(text)


def _beginning(text: str) -> int:
    """`bytes=N-` as N; everything where nothing is said."""
    number = text.removeprefix("bytes=").removesuffix("-")
    return int(number) if number.isdecimal() and len(number) <= 15 else 0


def is_for_boxes(path: str) -> bool:
    """Whether a request is one of these."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")
