"""A load generator that costs little itself: requests are made once, answers are read only as far as needed."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how one of the rivals is asked."""

    name: str
    url: str
    headers: Mapping[str, str]

    def head(self, method: str, path: str, more: Mapping[str, str]) -> bytes:
        """The head of a request."""
        parts = urlsplit(self.url)
        lines = [f"{method} {parts.path}{path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in {**self.headers, **more}.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Connection:
    """One kept-alive connection."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def open(self) -> Connection:
        parts = urlsplit(self._target.url)
        assert parts.hostname is not None
        self._reader, self._writer = await asyncio.open_connection(parts.hostname, parts.port)
        return self

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer; fails unless it is 200."""
        self._writer.write(self._target.head("POST", path, {"Content-Length": str(len(body))}) + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return await self._reader.readexactly(int(length))

    async def watch(self, path: str) -> None:
        """Upgrade to a websocket."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        }
        self._writer.write(self._target.head("GET", path, upgrade))
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head

    async def frame(self) -> bytes:
        """The payload of the next data frame; pings are answered."""
        while True:
            first, length = await self._reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await self._reader.readexactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await self._reader.readexactly(8), "big")
            payload = await self._reader.readexactly(length)
            if first & 0x0F == 9:
                # Masked with zeros: a pong that costs nothing to make.
                self._writer.write(bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
            elif first & 0x0F in (1, 2):
                return payload

    def close(self) -> None:
        self._writer.close()


async def put_rate(target: Target, path: str, body: bytes, *, count: int, connections: int) -> float:
    """Puts per second over several connections."""
    opened = [await Connection(target).open() for _ in range(connections)]
    left = iter(range(count))

    async def work(connection: Connection) -> None:
        for _ in left:
            await connection.post(path, body)

    began = time.perf_counter()
    await asyncio.gather(*(work(connection) for connection in opened))
    seconds = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return count / seconds


async def drain_rate(target: Target, path: str, *, count: int) -> float:
    """Items per second that one watcher is sent from a full queue."""
    connection = await Connection(target).open()
    began = time.perf_counter()
    await connection.watch(path)
    for _ in range(count):
        await connection.frame()
    seconds = time.perf_counter() - began
    connection.close()
    return count / seconds


async def latencies(
    target: Target, watch_path: str, put_path: str, *, rate: float, count: int
) -> list[float]:
    """Seconds from the beginning of each put to its frame at a watcher, at `rate` puts a second."""
    watcher = await Connection(target).open()
    await watcher.watch(watch_path)
    putters = [await Connection(target).open() for _ in range(4)]
    began: dict[int, float] = {}
    found: list[float] = []

    async def receive() -> None:
        while len(found) < count:
            payload = await watcher.frame()
            now = time.perf_counter()
            number = int(payload[-8:])
            found.append(now - began[number])

    receiving = asyncio.create_task(receive())
    start = time.perf_counter()

    async def send(lane: int) -> None:
        for number in range(lane, count, len(putters)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            began[number] = time.perf_counter()
            await putters[lane].post(put_path, b"%08d" % number)

    await asyncio.gather(*(send(lane) for lane in range(len(putters))))
    await asyncio.wait_for(receiving, 30.0)
    for connection in (watcher, *putters):
        connection.close()
    return found
