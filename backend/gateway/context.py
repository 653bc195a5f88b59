"""What the handlers of one gateway share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request

from backend.accounts import Caller
from backend.errors import Forbidden, StoreUnavailable, Unauthorized
from backend.gateway.auth import Authority
from backend.gateway.catalog import Catalog
from backend.gateway.hub import Hub
from backend.gateway.metrics import Metrics
from backend.settings import Settings
from backend.store import tasks
from backend.store.connection import Store
from backend.store.multiplex import MultiplexedStore
from backend.task import Task

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of one gateway process."""

    settings: Settings
    store: MultiplexedStore
    hub: Hub
    catalog: Catalog
    authority: Authority
    metrics: Metrics

    async def with_store(self, work: Callable[[Store], T]) -> T:
        """Run what is written for threads in one, with a connection of its own."""

        def run() -> T:
            store = Store(self.store.url)
            try:
                return work(store)
            finally:
                store.close()

        return await asyncio.to_thread(run)


def gateway_of(request: Request) -> Gateway:
    """The gateway that this request came to."""
    return cast(Gateway, request.app.state.gateway)


async def caller_of(request: Request) -> Caller:
    """Whose token the request carries."""
    authorization = request.headers.get("authorization", "")
    caller = await gateway_of(request).authority.caller(authorization, None, None)
    request.state.caller = caller
    return caller


async def front_end_of(request: Request) -> Caller:
    """Which front end asks: by its own credential, or by any other token."""
    authorization = request.headers.get("authorization", "")
    caller = await gateway_of(request).authority.front_end(authorization)
    request.state.caller = caller
    return caller


GatewayHere = Annotated[Gateway, Depends(gateway_of)]
CallerHere = Annotated[Caller, Depends(caller_of)]
FrontEndHere = Annotated[Caller, Depends(front_end_of)]


async def while_allowed(request: Request, events: AsyncIterator[str]) -> AsyncIterator[str]:
    """A stream, for as long as its token is good: it is looked at again now and then, and a void one ends it."""
    looked = time.monotonic()
    async with contextlib.aclosing(events) as following:  # type: ignore[type-var]
        async for event in following:
            if time.monotonic() - looked > RECHECKED:
                looked = time.monotonic()
                try:
                    await caller_of(request)
                except (Unauthorized, Forbidden):
                    return
                except StoreUnavailable:
                    pass  # nobody was shut out meanwhile: that, too, is written in the store
            yield event


RECHECKED = 5.0
"""Seconds for which a stream goes on with a token that was revoked."""


async def seen_task(gateway: Gateway, caller: Caller, task_id: str) -> Task:
    """A task of a service that this token covers, perhaps another's; raises NotFound or Forbidden."""
    task = await gateway.store.run(tasks.get(task_id))
    caller.need(task.service)
    return task


async def own_task(gateway: Gateway, caller: Caller, task_id: str) -> Task:
    """A task whose contents are the caller's to read; raises NotFound or Forbidden."""
    task = await seen_task(gateway, caller, task_id)
    caller.need_contents(task)
    return task


async def task_to_change(gateway: Gateway, caller: Caller, task_id: str) -> Task:
    """A task that is the caller's to change; raises NotFound or Forbidden."""
    task = await seen_task(gateway, caller, task_id)
    caller.need_change(task)
    return task
