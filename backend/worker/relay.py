"""The store of a deployment, reached through its gateway: the end on a box that has no other way to it.

    instance ── unix socket ──▶ relay ── WebSocket ──▶ gateway ──▶ store

Whoever connects to the socket (only this user can) gets a connection to the store, each through a WebSocket of its
own. When the network goes away, both ends are closed within `DEAD` seconds, and whoever asks anew is connected anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from backend.errors import StoreUnavailable

log = logging.getLogger("lorapool.worker")

PATH = "/api/v1/store"
BEAT, DEAD = 2.0, 6.0
_CONNECT = 5.0
_CHUNK = 1 << 16
_BEGIN = 10.0


class Relay:
    """Serves `socket` from a thread of its own until `close`."""

    def __init__(self, endpoint: str, token: str, socket: Path) -> None:
        self._url = "ws" + endpoint.rstrip("/").removeprefix("http") + PATH
        self._token = token
        self._socket = socket
        self._loop = asyncio.new_event_loop()
        self._said = ""
        self._begun = threading.Event()
        self._ending: asyncio.Event | None = None
        self._carried: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    @property
    def url(self) -> str:
        """What to give as `REDIS_URL`."""
        return f"unix://{self._socket}"

    def start(self) -> None:
        """Listen. Raises StoreUnavailable when that does not work out."""
        self._thread.start()
        if not self._begun.wait(_BEGIN):
            raise StoreUnavailable(f"no socket could be opened at {self._socket}")

    def close(self) -> None:
        """Close every connection, and the socket."""
        if self._begun.is_set() and self._ending is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(_BEGIN)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        server = await asyncio.start_unix_server(self._accepted, self._socket)
        self._socket.chmod(0o600)
        self._begun.set()
        await self._ending.wait()
        # Nobody finds the socket any more; whoever was just let in is carried only while the others end. The
        # server goes last: one that is closed with a connection on its doorstep loses that without closing it.
        self._socket.unlink(missing_ok=True)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._carried:
                task.cancel()
            await asyncio.wait(others)
        server.close()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._carried.discard(task)
            writer.transport.abort()

        task = asyncio.create_task(self._carry(reader, writer))
        self._carried.add(task)
        task.add_done_callback(ended)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._far() as far:
                self._say("")
                await _pump(reader, writer, far)
        except InvalidStatus as error:
            self._say(_refusal(error))
        except (OSError, InvalidHandshake, ConnectionClosed, ssl.SSLError, TimeoutError) as error:
            self._say(f"the gateway at {self._url} does not answer ({error or type(error).__name__})")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def _far(self) -> AsyncIterator[ClientConnection]:
        """The gateway's end. Its socket is closed in any case: a cancelled farewell alone would leave it open."""
        far = await connect(
            self._url,
            additional_headers={"Authorization": self._token},
            open_timeout=_CONNECT,
            ping_interval=BEAT,
            ping_timeout=DEAD - BEAT,
            close_timeout=1.0,
            max_size=None,
            compression=None,
        )
        try:
            yield far
        finally:
            try:
                await far.close()
            finally:
                far.transport.abort()

    def _say(self, trouble: str) -> None:
        """Log what is wrong, once, and that it is over."""
        if trouble == self._said:
            return
        if trouble:
            log.warning("%s; it is tried again", trouble)
        else:
            log.info("the gateway answers again")
        self._said = trouble


def _refusal(error: InvalidStatus) -> str:
    body = (error.response.body or b"").decode("utf-8", "replace")
    return f"the gateway refuses this box with {error.response.status_code}: {body[:300]}"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: ClientConnection) -> None:
    """Carry bytes both ways until either end is gone."""
    pumps = [
        asyncio.create_task(_send(reader, far)),
        asyncio.create_task(_receive(writer, far)),
        asyncio.create_task(_beat(far)),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _send(reader: asyncio.StreamReader, far: ClientConnection) -> None:
    while data := await reader.read(_CHUNK):
        await far.send(data)


async def _receive(writer: asyncio.StreamWriter, far: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in far:
            if isinstance(message, bytes):
                writer.write(message)
                await writer.drain()


async def _beat(far: ClientConnection) -> None:
    """Say that this end is there: pings are answered below what the gateway sees."""
    while True:
        await asyncio.sleep(BEAT)
        await far.send("")
