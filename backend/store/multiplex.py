"""The store for a process that asks it a lot: one connection that all calls share.

Redis answers in the order in which it was asked, so calls need not wait for each other: they are written as they come,
those of one turn of the event loop in one write. A client library's pool of connections costs several times as much
per call. Nothing that blocks the connection may be asked here; subscriptions have connections of their own.

Protocol: RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeVar

import redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.exceptions import NoScriptError

from backend.errors import StoreUnavailable
from backend.store.call import Argument, Call, source
from backend.store.connection import TIMEOUT, AsyncStore, NotConnected

T = TypeVar("T")
_GOODBYE = 1.0

_ERRORS: dict[bytes, type[redis.RedisError]] = {
    b"NOSCRIPT": NoScriptError,
    b"LOADING": redis.exceptions.BusyLoadingError,
    b"OOM": redis.exceptions.OutOfMemoryError,
    b"READONLY": redis.exceptions.ReadOnlyError,
    b"MASTERDOWN": redis.exceptions.MasterDownError,
    b"NOAUTH": redis.AuthenticationError,
    b"WRONGPASS": redis.AuthenticationError,
}


class MultiplexedStore(AsyncStore):
    """An `AsyncStore` whose calls share one connection; it connects when it is first asked, and again when cut."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._open: set[_Connection] = set()
        self._over = asyncio.Event()

    async def run_all(self, calls: list[Call[T]]) -> list[T]:
        """Run many calls in one round trip, each answer read by its call."""
        return list(await asyncio.gather(*[self.run(call) for call in calls]))

    async def _answer(self, call: Call[Any]) -> Any:
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._connect()
        if call.script is None:
            return await connection.ask(call.args)
        try:
            return await connection.ask(("EVALSHA", _sha(call.script), 0, *call.args))
        except NoScriptError:
            return await connection.ask(("EVAL", source(call.script), 0, *call.args))

    async def _connect(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or self._connection.lost:
                self._connection = await self._new()
            return self._connection

    async def _new(self) -> _Connection:
        if self._over.is_set():
            raise NotConnected("it was closed")
        try:
            async with asyncio.timeout(TIMEOUT):
                made = await _open(self.url, self._open)
        except (OSError, TimeoutError, redis.ConnectionError) as error:
            raise NotConnected(str(error) or "no connection in time") from error
        if self._over.is_set():
            made.close()
            raise NotConnected("it was closed")
        return made

    async def listen(
        self, channels: Sequence[str], heard: Callable[[bytes, bytes], None], standing: Callable[[], None]
    ) -> None:
        """Call `heard` with the channel and the message of all that is published, on a connection of its own.

        `standing` is called once the subscription stands: what was published before was not heard.

        Raises:
            StoreUnavailable: it could not be made, or was lost.
        """
        try:
            connection = await self._new()
            try:
                await connection.subscribe(channels, heard, standing)
            finally:
                connection.close()
        except redis.RedisError as error:
            raise StoreUnavailable(f"the store announces nothing ({error})") from error

    async def close(self) -> None:
        """Close every connection, also those that are being made or are at their end already."""
        self._over.set()
        while left := list(self._open):
            for connection in left:
                connection.close()
            await asyncio.gather(*(connection.closed() for connection in left))
        await super().close()


@cache
def _sha(name: str) -> str:
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


async def _open(url: str, known: set[_Connection]) -> _Connection:
    """A connection that is logged in and at the right database. As long as its socket is open it is in `known`."""
    loop, where = asyncio.get_running_loop(), parse_url(url)
    made = partial(_Connection, known)
    if "path" in where:
        _, connection = await loop.create_unix_connection(made, where["path"])
    else:
        secure = _trust(where)
        host, port = where.get("host", "localhost"), where.get("port", 6379)
        _, connection = await loop.create_connection(made, host, port, ssl=secure)
    try:
        if where.get("password"):
            user = [where["username"]] if where.get("username") else []
            await connection.ask(("AUTH", *user, where["password"]))
        if where.get("db"):
            await connection.ask(("SELECT", where["db"]))
    except BaseException:
        connection.close()
        raise
    return connection


def _trust(where: Mapping[str, Any]) -> ssl.SSLContext | None:
    """Whom to believe, as a client library reads it from the same address: `rediss://…?ssl_ca_certs=/etc/ca.pem`."""
    if where.get("connection_class") is not SSLConnection:
        return None
    options = {name: value for name, value in where.items() if name != "connection_class"}
    trust: ssl.SSLContext = SSLConnection(**options).ssl_context.get()
    return trust


class _Connection(asyncio.Protocol):
    """Requests in, answers out in the same order."""

    def __init__(self, known: set[_Connection]) -> None:
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self._received = bytearray()
        self._heard = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._subscriber: Callable[[bytes, bytes], None] | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.lost = False

    def ask(self, args: Sequence[Argument]) -> asyncio.Future[Any]:
        """The answer to come: a RedisError when the server refuses, a ConnectionError when the line is cut."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost or self._transport is None:
            future.set_exception(NotConnected("the connection was lost"))
            return future
        if not self._asked:
            self._heard = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(TIMEOUT / 10, self._look)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(pack(args))
        self._asked.append(future)
        return future

    async def subscribe(
        self, channels: Sequence[str], heard: Callable[[bytes, bytes], None], standing: Callable[[], None]
    ) -> None:
        """Pass on what is published until the line is cut, which raises; nothing else can be asked meanwhile."""
        await self.ask(("SUBSCRIBE", *channels))
        self._subscriber = heard
        standing()
        while not self.lost:
            await asyncio.wait([self._ended], timeout=TIMEOUT / 10)
            if self._loop.time() - self._heard > TIMEOUT:
                raise redis.TimeoutError(f"no answer within {TIMEOUT:.0f} s")
            assert self._transport is not None
            self._transport.write(pack(("PING",)))
        raise redis.ConnectionError("the connection was cut")

    def close(self) -> None:
        """Close it; what was not answered fails."""
        if self._transport is not None:
            self._transport.close()

    async def closed(self) -> None:
        """Wait until the socket is; TLS says goodbye first."""
        if self._transport is not None:
            await asyncio.wait([self._ended], timeout=_GOODBYE)
            self._transport.abort()
            await self._ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._known.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._known.discard(self)
        self._fail(
            redis.ConnectionError(f"the connection was cut ({exc})" if exc else "the connection was closed")
        )

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._received += data
        at = 0
        try:
            while at < len(self._received):
                answer, at = parse(self._received, at)
                self._take(answer)
        except Incomplete:
            pass
        del self._received[:at]

    def _take(self, answer: Any) -> None:
        if self._asked:
            future = self._asked.popleft()
            if future.done():  # nobody waits for it any more
                return
            if isinstance(answer, redis.RedisError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        elif self._subscriber is not None and isinstance(answer, list) and answer[0] == b"message":
            self._subscriber(answer[1], answer[2])

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None and not self.lost:
            self._transport.write(b"".join(unsent))

    def _look(self) -> None:
        """Give up on a server that has been silent for too long."""
        self._watch = None
        if not self._asked:
            return
        if self._loop.time() - self._heard > TIMEOUT:
            assert self._transport is not None
            self._transport.abort()
            self._fail(redis.TimeoutError(f"no answer within {TIMEOUT:.0f} s"))
            return
        self._watch = self._loop.call_later(TIMEOUT / 10, self._look)

    def _fail(self, error: redis.RedisError) -> None:
        self.lost = True
        if not self._ended.done():
            self._ended.set_result(None)
        if self._watch is not None:
            self._watch.cancel()
        while self._asked:
            future = self._asked.popleft()
            if not future.done():
                future.set_exception(error)


class Incomplete(Exception):
    """The rest of an answer has not come yet."""


def pack(args: Sequence[Argument]) -> bytes:
    """A request: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        value = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


def parse(data: bytes | bytearray, at: int) -> tuple[Any, int]:
    """The answer that begins at `at`, and where it ends. An error is an answer too: a RedisError.

    Raises:
        Incomplete: it goes on behind the end of `data`.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind, head, after = data[at], data[at + 1 : end], end + 2
    match kind:
        case 36:  # $ a bulk string, -1 for none
            size = int(head)
            if size < 0:
                return None, after
            if len(data) < after + size + 2:
                raise Incomplete
            return bytes(data[after : after + size]), after + size + 2
        case 58:  # : an integer
            return int(head), after
        case 43:  # + a status
            return bytes(head), after
        case 42:  # * an array, -1 for none
            return _array(data, int(head), after)
        case 45:  # - an error
            code, _, _ = bytes(head).partition(b" ")
            return _ERRORS.get(code, redis.ResponseError)(head.decode("utf-8", "replace")), after
    raise redis.InvalidResponse(f"an answer that begins with {bytes(data[at:end])!r}")


def _array(data: bytes | bytearray, size: int, at: int) -> tuple[list[Any] | None, int]:
    if size < 0:
        return None, at
    items = []
    for _ in range(size):
        item, at = parse(data, at)
        items.append(item)
    return items, at
