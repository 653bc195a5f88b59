"""Waiting out a restart of the store, so that clients that repeat every refusal six times at once see none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from backend.errors import StoreUnavailable
from backend.store.call import Call
from backend.store.connection import AsyncStore

T = TypeVar("T")

PATIENCE = 4.0
"""Seconds; the official client gives an answer five."""

_PAUSE = 0.05


async def patiently(store: AsyncStore, call: Call[T]) -> T:
    """Run a call that may run twice, again while the store is away.

    Raises:
        StoreUnavailable: it was away for longer than `PATIENCE`.
    """
    return await persist(lambda: store.run(call))


async def certainly(store: AsyncStore, call: Call[T]) -> T:
    """Run a put that carries its request id: it fails only when it is certain that nothing was stored.

    A client that is told of a failure puts again under another id, so while the store may have taken the item and died
    before it said so, its answer is waited for, however long it is away.

    Raises:
        StoreUnavailable: it was away for longer than `PATIENCE`, and nothing was stored.
    """
    return await persist(lambda: store.run(call), certain=True)


async def persist(work: Callable[[], Awaitable[T]], *, certain: bool = False) -> T:
    """The same for anything that asks the store."""
    try:
        return await work()
    except StoreUnavailable as error:
        deadline, doubt = time.monotonic() + PATIENCE, certain and error.in_doubt
    while True:
        await asyncio.sleep(_PAUSE)
        try:
            return await work()
        except StoreUnavailable as error:
            doubt = doubt or (certain and error.in_doubt)
            if not doubt and time.monotonic() > deadline:
                raise
