"""Bodies of the control API: none is read without end, and a large one only from who has a token.

A body is read before a route is asked who may use it, so that anybody who reaches the port could fill the memory.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import LorapoolError, TooLarge
from backend.gateway import answers
from backend.gateway.context import Gateway

SMALL, LARGEST = 1 << 20, 256 << 20
"""Bytes: more than the first are taken from who has a token, more than the second from nobody."""

_DRAINED = 64 << 20
"""Bytes of a refused body that are read and thrown away, so that its client gets to see the answer."""

_WITHOUT = frozenset({"GET", "HEAD", "OPTIONS"})


class Bounded:
    """The middleware around the control API."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _WITHOUT:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ClientDisconnect:
            return
        except LorapoolError as error:
            await answers.refuse(answers.from_error(error), scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, again, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size, allowed, over = 0, SMALL, 0
        refusal: LorapoolError | None = None
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if refusal is None and size > allowed:
                refusal, allowed = await self._why_not(scope, size), LARGEST
            if refusal is None:
                chunks.append(chunk)
            else:
                chunks.clear()
                over += len(chunk)
            if not message.get("more_body", False) or over > _DRAINED:
                break
        if refusal is not None:
            raise refusal
        return b"".join(chunks)

    async def _why_not(self, scope: Scope, size: int) -> LorapoolError | None:
        """Why a body of this size is not taken."""
        if size > LARGEST:
            return TooLarge(f"the body has more than {LARGEST >> 20} MiB. Nothing was changed.")
        try:
            await self._gateway.authority.front_end(Headers(scope=scope).get("authorization", ""))
        except LorapoolError as error:
            return error
        return None
