"""The store for instances on other machines, through the gateway's own port: `/api/v1/store`, a WebSocket.

A box needs the address of the gateway and an administrator's token, and nothing else: no port of the store is open to
anybody, its password stays here, and TLS in front of the gateway covers this as well. Each connection to the store is
one WebSocket whose binary messages are the bytes of the store's protocol; the gateway has logged in before the first.
The other end (`backend/worker/relay.py`) sends a text message now and then: without any for `SILENCE` seconds it is
taken for gone, so that a connection which waits for a task does not wait for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import redis.asyncio
from redis.exceptions import RedisError
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from backend.errors import LorapoolError, StoreUnavailable
from backend.gateway import answers
from backend.gateway.context import Gateway

PATH = "/api/v1/store"
SILENCE = 20.0
_CHUNK = 1 << 16


async def serve_store(gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
    """One connection to the store, until either end closes it. Needs the administrator's token."""
    websocket = WebSocket(scope, receive, send)
    connection = _connection(gateway.store.url)
    try:
        caller = await gateway.authority.caller(websocket.headers.get("authorization", ""), None, None)
        caller.need_administrator()
        await _connect(connection)
        with contextlib.suppress(OSError, RuntimeError, WebSocketDisconnect):  # the box has gone meanwhile
            await websocket.accept()
            await _pump(websocket, connection)
            await websocket.close()
    except LorapoolError as error:
        await answers.refuse(answers.from_error(error), scope, receive, send)
    finally:
        await connection.disconnect(nowait=True)


async def _pump(websocket: WebSocket, connection: Any) -> None:
    """Pass on what comes from both ends until one is over."""
    pumps = [
        asyncio.create_task(_to_store(websocket, connection._writer)),
        asyncio.create_task(_from_store(websocket, connection._reader)),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


def _connection(url: str) -> Any:
    """A connection as the client library makes it: it knows of TLS, sockets, passwords and databases."""
    return redis.asyncio.ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]


async def _connect(connection: Any) -> None:
    try:
        await connection.connect()
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store does not answer ({error}); nothing was sent") from error


async def _to_store(websocket: WebSocket, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            message = await asyncio.wait_for(websocket.receive(), SILENCE)
        except (TimeoutError, WebSocketDisconnect):
            return
        if message["type"] != "websocket.receive":
            return
        if data := cast(bytes | None, message.get("bytes")):
            writer.write(data)
            await writer.drain()


async def _from_store(websocket: WebSocket, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_CHUNK):
        await websocket.send_bytes(data)
