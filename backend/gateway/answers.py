"""Errors as answers: one JSON shape, and statuses as the queue protocol's clients expect them.

No answer ever carries `Retry-After`: the official client would sleep and repeat inside each of its own repeats.
"""

from __future__ import annotations

import contextlib
import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backend.errors import LorapoolError

log = logging.getLogger("lorapool.gateway")


def json_answer(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")


def plain_json(value: Any) -> None:
    """Raise a ValueError for what Python reads as JSON and no other reader would: NaN, halves of characters."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def describe(error: LorapoolError) -> dict[str, str]:
    """The body of an error answer."""
    field = getattr(error, "field", None)
    return {
        "error": type(error).__name__,
        "message": str(error),
        **({"field": field} if field else {}),
    }


def from_error(error: LorapoolError) -> Response:
    """The answer that an error of ours becomes."""
    return json_answer(describe(error), error.status)


async def on_error(request: Request, error: Exception) -> Response:
    """Any error of ours, as FastAPI's handler."""
    assert isinstance(error, LorapoolError)
    return from_error(error)


async def on_http(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    assert isinstance(error, HTTPException)
    name = HTTPStatus(error.status_code).phrase.replace(" ", "")
    message = f"{request.method} {request.url.path}: {error.detail}"
    return json_answer({"error": name, "message": message}, error.status_code)


async def on_validation(request: Request, error: Exception) -> Response:
    """A body or a query that does not fit its description."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    if first["type"] == "json_invalid":
        place = ""
    message = f"{place or 'body'}: {first['msg']}; nothing was changed"
    return json_answer({"error": "InvalidArgument", "message": message, "field": place or "body"}, 400)


async def on_bug(request: Request, error: Exception) -> Response:
    """Anything else, as FastAPI's handler."""
    return from_bug(request.method, request.url.path, error)


def from_bug(method: str, path: str, error: Exception) -> Response:
    """Anything that nobody foresaw: logged here, answered without details."""
    log.error("%s %s failed", method, path, exc_info=error)
    return json_answer({"error": "InternalError", "message": "the gateway failed; its log says why"}, 500)


async def refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an error answer; to a websocket before accepting it, so that its client does not connect again at once."""
    if scope["type"] != "websocket":
        await response(scope, receive, send)
        return
    start = {
        "type": "websocket.http.response.start",
        "status": response.status_code,
        "headers": response.raw_headers,
    }
    with contextlib.suppress(OSError):  # it has gone meanwhile
        await send(start)
        await send({"type": "websocket.http.response.body", "body": response.body})
