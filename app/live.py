"""The routes behind the live panes: lists, streams and files of the gateway, without its token.

    GET  live/tasks                     older tasks, a page at a time
    GET  live/tasks/{id}                one task
    GET  live/tasks/{id}/log            a piece of its log
    GET  live/tasks/{id}/log.txt        the whole log
    GET  live/tasks/{id}/scalars        the points of its curves
    GET  live/tasks/{id}/files/{path}   a picture, a checkpoint
    GET  live/loras.zip                 the finished LoRAs of the last day
    GET  live/tasks/{id}/room           what it has left on the disk
    POST live/tasks/{id}/delete         remove it, with or without that
    POST live/tasks/{id}/{action}       cancel, retry, priority
    WS   live/board                     all tasks as they change
    WS   live/tasks/{id}                one task: state, log, scalars, files, as they come

WebSockets rather than server-sent events towards the browser, because a browser opens at most six HTTP/1.1
connections to one server: the seventh open page would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app import pages
from app.board import Boards, Message
from app.gateway import GatewayRefused
from app.people import gateway_of, person_of
from app.relay import Relays, written
from backend.errors import InvalidInput, LorapoolError, NotFound

router = APIRouter(prefix="/live")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ACTIONS = frozenset({"cancel", "retry", "priority"})
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_PASSED_ON = ("content-length", "etag", "last-modified")
_CURSORS = ("log", "scalars", "files")
_PING = 10.0


def _task(id: str) -> str:
    if not _ID.fullmatch(id):
        raise NotFound(f"There is no task {id[:80]!r}.")
    return f"tasks/{id}"


def _number(text: str | None, default: int = 0) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        raise InvalidInput(f"{text!r} is not a whole number.") from None


@router.get("/tasks")
async def tasks(request: Request) -> Any:
    wanted = {"limit": _number(request.query_params.get("limit"), 50)}
    if "before" in request.query_params:
        wanted["before"] = _number(request.query_params["before"])
    return await gateway_of(request).get("tasks", **wanted)


@router.get("/tasks/{id}")
async def task(request: Request, id: str) -> Any:
    return await gateway_of(request).get(_task(id))


@router.get("/tasks/{id}/log")
async def log(request: Request, id: str) -> Any:
    query = {name: _number(request.query_params.get(name)) for name in ("after", "limit")}
    return await gateway_of(request).get(f"{_task(id)}/log", **query)


@router.get("/tasks/{id}/scalars")
async def scalars(request: Request, id: str) -> Any:
    return await gateway_of(request).get(
        f"{_task(id)}/scalars", after=_number(request.query_params.get("after"))
    )


@router.get("/tasks/{id}/log.txt")
async def whole_log(request: Request, id: str) -> Response:
    return await _download(request, f"{_task(id)}/log.txt", f"{id}.log")


@router.get("/tasks/{id}/files/{path:path}")
async def file(request: Request, id: str, path: str) -> Response:
    parts = PurePosixPath(path)
    if parts.is_absolute() or not parts.name or {".", ".."} & set(path.split("/")) or "\0" in path:
        raise NotFound(f"There is no file {path[:200]!r} in this job.")
    return await _download(request, f"{_task(id)}/files/{quote(path)}", parts.name)


@router.get("/loras.zip")
async def loras(request: Request) -> Response:
    return await _download(request, "loras.zip", time.strftime("loras-%Y-%m-%d.zip"))


@router.get("/tasks/{id}/room")
async def room(request: Request, id: str) -> Any:
    return await gateway_of(request).get(f"{_task(id)}/room")


@router.post("/tasks/{id}/delete")
async def delete(request: Request, id: str) -> Any:
    body = await _body(request)
    wanted = {name: "true" if body.get(name) is True else "false" for name in ("files", "lora")}
    return await gateway_of(request).send("DELETE", f"{_task(id)}?{urlencode(wanted)}")


@router.post("/tasks/{id}/{action}")
async def act(request: Request, id: str, action: str) -> Any:
    if action not in _ACTIONS:
        raise NotFound(f"A task has no action {action[:80]!r}.")
    return await gateway_of(request).post(f"{_task(id)}/{action}", await _body(request))


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InvalidInput("The request is not JSON. Nothing was changed.")
    return body


@router.websocket("/board")
async def board(socket: WebSocket) -> None:
    boards: Boards = socket.app.state.boards
    await _send_all(socket, boards.of(gateway_of(socket), person_of(socket).token).messages())


@router.websocket("/tasks/{id}")
async def follow(socket: WebSocket, id: str) -> None:
    cursors = {name: _number(socket.query_params.get(name)) for name in _CURSORS}
    relays: Relays = socket.app.state.relays
    relay = relays.of(gateway_of(socket), person_of(socket).token, _task(id))
    await _send_all(socket, relay.messages(cursors))


async def _send_all(socket: WebSocket, messages: AsyncIterator[Message] | AsyncIterator[str]) -> None:
    """Send until there are no more messages or the page has gone; a ping in between tells it that all is well."""
    await socket.accept()
    sending = asyncio.create_task(_send(socket, messages))
    gone = asyncio.create_task(_until_gone(socket))
    try:
        await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for job in (sending, gone):
            job.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await job
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close()


async def _send(socket: WebSocket, messages: AsyncIterator[Message] | AsyncIterator[str]) -> None:
    lock = asyncio.Lock()

    async def send(message: Message | str) -> None:
        async with lock:
            await socket.send_text(message if isinstance(message, str) else written(message))

    async def ping() -> None:
        while True:
            await asyncio.sleep(_PING)
            await send({"event": "ping"})

    pinging = asyncio.create_task(ping())
    try:
        async with contextlib.aclosing(messages) as following:  # type: ignore[type-var]
            async for message in following:
                await send(message)
    finally:
        pinging.cancel()


async def _until_gone(socket: WebSocket) -> None:
    while True:
        await socket.receive_text()


async def _download(request: Request, path: str, name: str) -> Response:
    """Pass a file on as it comes. Pictures are shown; anything else is saved, never run in this page's name."""
    passage = contextlib.AsyncExitStack()
    answer = await passage.enter_async_context(gateway_of(request).file(path))
    picture = _PICTURES.get(PurePosixPath(name).suffix.lower())
    headers = {key: answer.headers[key] for key in _PASSED_ON if key in answer.headers}
    headers["cache-control"] = "private, max-age=60" if picture else "no-store"
    kind = "inline" if picture and "download" not in request.query_params else "attachment"
    headers["content-disposition"] = f"{kind}; filename*=UTF-8''{quote(name, safe='')}"
    return Passage(passage, answer.aiter_raw(), headers, picture or "application/octet-stream")


class Passage(StreamingResponse):
    """A streamed answer that lets go of its source however it ends."""

    def __init__(
        self,
        source: contextlib.AsyncExitStack,
        body: AsyncIterator[bytes],
        headers: dict[str, str],
        kind: str,
    ) -> None:
        super().__init__(body, headers=headers, media_type=kind)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._source.aclose()


async def answer_error(request: Request, error: Exception) -> Response:
    """Errors raised on purpose, as the gateway words them."""
    assert isinstance(error, LorapoolError)
    if pages.wants_page(request):
        return pages.dead_end(request, str(error), error.status)
    answer = (
        error.answer
        if isinstance(error, GatewayRefused)
        else {"error": type(error).__name__, "message": str(error)}
    )
    return JSONResponse(answer, status_code=error.status)


def install(app: FastAPI) -> None:
    """Add the routes; `app.state` must have `gateway`, `token` and `boards` before the first request."""
    handler: Callable[[Request, Exception], Awaitable[Response]] = answer_error
    app.add_exception_handler(LorapoolError, handler)
    app.include_router(router)
