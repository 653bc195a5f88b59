"""Runs calls against Redis or Valkey, from threads or from an event loop.

Every connection answers in bytes, knows its password from the URL, and gives up on a silent server after
`TIMEOUT` seconds. A lost connection is the caller's to retry: it alone knows whether the call may run twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
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


class NotConnected(redis.ConnectionError):
    """There was no connection on which the request could have been sent."""


NOT_DONE = (NotConnected, redis.exceptions.BusyLoadingError, redis.AuthenticationError)
"""Errors after which it is certain that the store has done nothing."""


@cache
def _sha(name: str) -> str:
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


_REFUSALS = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
)
_REFUSAL = re.compile(r"(?:^|: )(MISCONF|NOREPLICAS)\b")
"""How a server begins that takes no writes at present, as its disk is full. The client has classes for the others."""


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the client as ours. A statement that is wrong stays what it is: a bug."""
    try:
        yield
    except UNAVAILABLE as error:
        raise StoreUnavailable(
            f"the store does not answer ({error}). What it has acknowledged is safe on disk; "
            "try again in a moment.",
            in_doubt=not isinstance(error, NOT_DONE),
        ) from error
    except redis.ResponseError as error:
        if not (isinstance(error, _REFUSALS) or _REFUSAL.search(str(error))):
            raise
        raise StoreUnavailable(
            f"the store takes no changes at present ({error}). What it has acknowledged is safe; nothing of this "
            "was done. If its disk or memory is full, free some."
        ) from error


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
            StoreUnavailable: the store does not answer, and whether the call took effect is not known; or it takes
                no changes at present, and it did not.
        """
        with _translated():
            answer = self._answer(call)
        return call.read(answer)

    def run_all(self, calls: Sequence[Call[T]]) -> list[T]:
        """Run many calls in one round trip, one after another but not as one, each answer read by its call."""
        pipeline = self.redis.pipeline(transaction=False)
        for call in calls:
            if call.script is None:
                pipeline.execute_command(*call.args)  # type: ignore[no-untyped-call]
            else:
                pipeline.evalsha(self._sha(call.script), 0, *call.args)
        with _translated():
            answers = pipeline.execute(raise_on_error=False)
            for place, answer in enumerate(answers):
                if isinstance(answer, NoScriptError):
                    answers[place] = self._answer(calls[place])
                elif isinstance(answer, Exception):
                    raise answer
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
            return self.redis.evalsha(self._sha(call.script), 0, *call.args)
        except NoScriptError:
            return self.redis.eval(source(call.script), 0, *call.args)

    def _sha(self, script: str) -> str:
        return _sha(script)

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
            StoreUnavailable: the store does not answer, and whether the call took effect is not known; or it takes
                no changes at present, and it did not.
        """
        with _translated():
            answer = await self._answer(call)
        return call.read(answer)

    async def run_all(self, calls: list[Call[T]]) -> list[T]:
        """Run many plain commands in one round trip, each answer read by its call."""
        pipeline = self.redis.pipeline(transaction=False)
        for call in calls:
            assert call.script is None
            pipeline.execute_command(*call.args)
        with _translated():
            answers = await pipeline.execute()
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
