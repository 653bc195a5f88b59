"""What the handlers of one gateway share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Request

from backend.accounts import Caller
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


GatewayHere = Annotated[Gateway, Depends(gateway_of)]
CallerHere = Annotated[Caller, Depends(caller_of)]


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
