"""The rival of `queue.py`: the least code that puts into a store and streams out of it, on the same server stack.

A bare Starlette handler per operation over one Redis stream: no tags, groups, windows, commits, redelivery or limits.
"""

from __future__ import annotations

import os
import sys

import redis.asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

store = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None)


async def put(request: Request) -> Response:
    index = await store.xadd(request.path_params["queue"], {"d": await request.body()})
    return PlainTextResponse(index)


async def watch(socket: WebSocket) -> None:
    await socket.accept()
    queue, last = socket.path_params["queue"], "0"
    try:
        while True:
            for _, items in await store.xread({queue: last}, count=64, block=60_000):
                for last, item in items:  # noqa: B007
                    await socket.send_bytes(item[b"d"])
    except WebSocketDisconnect:
        return


app = Starlette(routes=[Route("/{queue}", put, methods=["POST"]), WebSocketRoute("/{queue}", watch)])

if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        access_log=False,
        log_level="error",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )
