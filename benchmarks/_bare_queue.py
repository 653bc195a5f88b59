"""The rival of `queue.py`: a bare Starlette handler that does the same work on the same store and server stack.

Its answers are the same bytes: a put stores data, tags and a new request id in one script call and answers the decimal
index and the request id's header; a watch sends one protobuf frame for each item and takes it out of the stream once it
is sent. It checks one token. It knows no groups, windows, tag filters, redelivery, limits or repeated request ids.
"""

from __future__ import annotations

import hmac
import json
import os
import sys
import uuid
from typing import Any

import redis.asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from backend.queue import frames
from backend.queue.contract import HEADER_REQUEST_ID, REQUEST_ID
from backend.store.streams import Item

TOKEN = os.environ["LORAPOOL_TOKEN"]

store = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None)
_put = store.register_script(
    "local i = redis.call('INCR', KEYS[1] .. ':last') "
    "redis.call('XADD', KEYS[1], i .. '-0', 'd', ARGV[1], 't', ARGV[2]) return i"
)


async def put(request: Request) -> Response:
    if not hmac.compare_digest(request.headers.get("authorization", ""), TOKEN):
        return PlainTextResponse("no", 401)
    request_id = str(uuid.uuid4())
    tags = {**request.query_params, REQUEST_ID: request_id}
    index = await _put(keys=[request.path_params["queue"]], args=[await request.body(), json.dumps(tags)])
    return PlainTextResponse(str(index), headers={HEADER_REQUEST_ID: request_id})


async def watch(socket: WebSocket) -> None:
    if not hmac.compare_digest(socket.headers.get("authorization", ""), TOKEN):
        return await socket.close()
    await socket.accept()
    queue, last = socket.path_params["queue"], b"0"
    try:
        while True:
            read: Any = await store.xread({queue: last}, count=64, block=60_000)
            for _, entries in read:
                for name, entry in entries:
                    item = Item(int(name.partition(b"-")[0]), json.loads(entry[b"t"]), entry[b"d"])
                    await socket.send_bytes(frames.frame(item))
                await store.xdel(queue, *[name for name, _ in entries])
                last = entries[-1][0]
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
