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


async def persist(work: Callable[[], Awaitable[T]]) -> T:
    """The same for anything that asks the store."""
    try:
        return await work()
    except StoreUnavailable:
        deadline = time.monotonic() + PATIENCE
    while True:
        await asyncio.sleep(_PAUSE)
        try:
            return await work()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
