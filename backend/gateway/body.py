"""Reading a request body as it is, up to a limit of size and of time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from backend.errors import LorapoolError, TooLarge

_DRAINED = 64 << 20


class TookTooLong(LorapoolError):
    """The request took longer than `rpc.keepalive` allows."""

    status = 408


async def read_body(receive: Receive, *, limit: int, seconds: float) -> bytes:
    """The whole body.

    What is over the limit is read and thrown away (up to a bound), so that the client gets to see the answer.

    Raises:
        TooLarge: it has more than `limit` bytes.
        TookTooLong: it was not there within `seconds`.
        ClientDisconnect: the client went away.
    """
    try:
        async with asyncio.timeout(seconds):
            chunks, size = await _read(receive, limit)
    except TimeoutError:
        raise TookTooLong(
            f"the request was not complete within {seconds:.1f} s (rpc.keepalive). Nothing was stored."
        ) from None
    if size > limit:
        raise TooLarge(
            f"the body has more than {limit} bytes. Nothing was stored; send a file's path instead."
        )
    return b"".join(chunks)


async def _read(receive: Receive, limit: int) -> tuple[list[bytes], int]:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > limit + _DRAINED:
            return [], size
        if not message.get("more_body", False):
            return chunks, size
