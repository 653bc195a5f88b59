"""Runs calls against Redis or Valkey, from threads or from an event loop.

Every connection answers in bytes, knows its password from the URL, and gives up on a silent server after
`TIMEOUT` seconds. A lost connection is the caller's to retry: it alone knows whether the call may run twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.client import PubSub
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from backend.errors import StoreUnavailable
from backend.store.call import Call, source

T = TypeVar("T")

TIMEOUT = 10.0
UNAVAILABLE = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError, ConnectionError)


def _sha(name: str) -> str:
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"the store does not answer ({error}). What it has acknowledged is safe on disk; "
        "try again in a moment."
    )


class Store:
    """A pool of blocking connections; safe to share between threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.redis: redis.Redis = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
        )

    def run(self, call: Call[T]) -> T:
        """Run one call.

        Raises:
            StoreUnavailable: the store does not answer; whether the call took effect is not known.
        """
        try:
            return call.read(self._answer(call))
        except UNAVAILABLE as error:
            raise _unavailable(error) from error

    def run_all(self, calls: list[Call[T]]) -> list[T]:
        """Run many plain commands in one round trip, each answer read by its call."""
        pipeline = self.redis.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(*call.args)  # type: ignore[no-untyped-call]
        try:
            answers = pipeline.execute()
        except UNAVAILABLE as error:
            raise _unavailable(error) from error
        return [call.read(answer) for call, answer in zip(calls, answers, strict=True)]

    @contextmanager
    def listen(self, channel: str) -> Iterator[PubSub]:
        """A subscription to a channel, for `get_message(timeout=…)`."""
        with self.redis.pubsub(ignore_subscribe_messages=True) as messages:  # type: ignore[no-untyped-call]
            messages.subscribe(channel)
            yield messages

    def _answer(self, call: Call[Any]) -> Any:
        if call.script is None:
            return self.redis.execute_command(*call.args)  # type: ignore[no-untyped-call]
        try:
            return self.redis.evalsha(_sha(call.script), 0, *call.args)
        except NoScriptError:
            return self.redis.eval(source(call.script), 0, *call.args)

    def close(self) -> None:
        """Close every connection of the pool."""
        self.redis.close()


class AsyncStore:
    """The same for an event loop."""

    def __init__(self, url: str, *, max_connections: int = 256) -> None:
        self.url = url
        self.redis: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            max_connections=max_connections,
            retry=AsyncRetry(NoBackoff(), 0),
        )

    async def run(self, call: Call[T]) -> T:
        """Run one call.

        Raises:
            StoreUnavailable: the store does not answer; whether the call took effect is not known.
        """
        try:
            return call.read(await self._answer(call))
        except UNAVAILABLE as error:
            raise _unavailable(error) from error

    async def run_all(self, calls: list[Call[T]]) -> list[T]:
        """Run many plain commands in one round trip, each answer read by its call."""
        pipeline = self.redis.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(*call.args)
        try:
            answers = await pipeline.execute()
        except UNAVAILABLE as error:
            raise _unavailable(error) from error
        return [call.read(answer) for call, answer in zip(calls, answers, strict=True)]

    async def _answer(self, call: Call[Any]) -> Any:
        if call.script is None:
            return await self.redis.execute_command(*call.args)  # type: ignore[no-untyped-call]
        try:
            return await self.redis.evalsha(_sha(call.script), 0, *call.args)
        except NoScriptError:
            return await self.redis.eval(source(call.script), 0, *call.args)

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self.redis.aclose()


__all__ = ["TIMEOUT", "UNAVAILABLE", "AsyncStore", "RedisError", "Store"]
