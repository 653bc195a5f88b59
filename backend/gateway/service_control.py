"""The control API that changes services: create, update, remove, stop, start, scale, and the rules of scaling.

What is changed is the description itself, so that what is shown is always what holds, and survives every restart.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field
from starlette.responses import Response

from backend.accounts import credentials
from backend.errors import InvalidArgument
from backend.gateway.answers import json_answer, plain_json
from backend.gateway.context import CallerHere, Gateway, GatewayHere
from backend.gateway.services_api import service_view
from backend.service import parse, with_part
from backend.store import services, streams, tasks
from backend.store.announcements import announce
from backend.views import ServiceView, as_json

router = APIRouter(tags=["services"])


class Count(BaseModel):
    """How many instances."""

    instances: int = Field(ge=0, le=1000)


async def _deploy(gateway: Gateway, raw: dict[str, Any], name: str = "") -> Response:
    """Deploy a description; with `name` it has to be that of this service."""
    # Reading the scaler's rules costs the start of the gateway a quarter of a second: only who deploys pays for it.
    from backend.deploy import deploy, scaling_warnings, storage_warnings

    try:
        plain_json(raw)
    except ValueError as error:
        raise InvalidArgument("body", f"{error}; nothing was changed") from None
    parsed = parse(raw)
    wanted = parsed.description
    if name and wanted.name != name:
        raise InvalidArgument("metadata.name", f"it is {wanted.name!r}, not {name!r}; nothing was changed")
    unready = await asyncio.to_thread(storage_warnings, wanted, gateway.settings, os.environ)
    warnings = (*parsed.warnings, *scaling_warnings(wanted), *unready)
    await gateway.with_store(lambda store: deploy(store, wanted))
    gateway.catalog.forget(wanted.name)
    view = await service_view(gateway, await gateway.catalog.get(wanted.name), token=True, warnings=warnings)
    return json_answer(as_json(view))


async def _change(gateway: Gateway, name: str, part: str, value: Any) -> Response:
    """Replace one part of the description of a service; None removes it."""
    deployed = await gateway.catalog.get(name)
    return await _deploy(gateway, with_part(deployed.description.raw, part, value), name)


@router.post("/services", response_model=ServiceView)
async def create_service(
    gateway: GatewayHere, caller: CallerHere, body: Annotated[dict[str, Any], Body()]
) -> Response:
    """Create a service from its description, or replace the description of one that exists."""
    caller.need_administrator()
    return await _deploy(gateway, body)


@router.delete("/services/{service}", response_model=ServiceView)
async def delete_service(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Remove a service: its waiting tasks are cancelled, its running ones stopped, its queues dropped."""
    caller.need_administrator()
    deployed = await gateway.catalog.get(service)
    view = await service_view(gateway, deployed, token=False)
    store = gateway.store
    for task in [*await store.run(tasks.waiting(service)), *await store.run(tasks.active(service))]:
        await store.run(tasks.cancel(task, by="the removal of the service"))
    await _drop_queues(gateway, service)
    await store.run_all(services.forget(service))
    await store.run(announce("service", service, service))
    gateway.catalog.forget(service)
    # Until that was heard, a put or a watcher may have brought them back.
    await _drop_queues(gateway, service)
    return json_answer(as_json(view))


async def _drop_queues(gateway: Gateway, service: str) -> None:
    for queue in (service, f"{service}/sink", f"{service}/dead"):
        await gateway.store.run(streams.drop(queue))


@router.put("/services/{service}", response_model=ServiceView)
async def update_service(
    service: str, gateway: GatewayHere, caller: CallerHere, body: Annotated[dict[str, Any], Body()]
) -> Response:
    """Replace the description of a service that exists; its tasks, queues and token stay."""
    caller.need_administrator()
    await gateway.catalog.get(service)
    return await _deploy(gateway, body, service)


@router.post("/services/{service}/stop", response_model=ServiceView)
async def stop_service(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Let the instances end what they run and leave; tasks may still be queued, and wait until it is started."""
    return await _set_stopped(gateway, caller, service, stopped=True)


@router.post("/services/{service}/start", response_model=ServiceView)
async def start_service(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Let a stopped service work again."""
    return await _set_stopped(gateway, caller, service, stopped=False)


async def _set_stopped(gateway: Gateway, caller: CallerHere, name: str, *, stopped: bool) -> Response:
    caller.need_administrator()
    await gateway.catalog.get(name)
    for call in services.set_stopped(name, stopped):
        await gateway.store.run(call)
    gateway.catalog.forget(name)
    view = await service_view(gateway, await gateway.catalog.get(name), token=False)
    return json_answer(as_json(view))


@router.post("/services/{service}/front-end-token", response_model=ServiceView)
async def renew_front_end_token(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Give the service's front ends another credential; with the one they have they begin no session any more."""
    caller.need_administrator()
    await gateway.catalog.get(service)
    await gateway.store.run_all(services.replace_front_end_token(service, credentials.new_front_end_token()))
    gateway.catalog.forget(service)
    view = await service_view(gateway, await gateway.catalog.get(service), token=True)
    return json_answer(as_json(view))


@router.post("/services/{service}/scale", response_model=ServiceView)
async def scale_service(service: str, wanted: Count, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Keep exactly so many instances, until the rules of scaling are set again."""
    caller.need_administrator()
    bounds = {"min": wanted.instances, "max": wanted.instances}
    return await _change(gateway, service, "autoscaler", bounds)


@router.put("/services/{service}/autoscaler", response_model=ServiceView)
async def set_autoscaler(
    service: str, gateway: GatewayHere, caller: CallerHere, body: Annotated[dict[str, Any], Body()]
) -> Response:
    """Set the rules of scaling: what stands under `autoscaler` in a description."""
    caller.need_administrator()
    return await _change(gateway, service, "autoscaler", body)


@router.delete("/services/{service}/autoscaler", response_model=ServiceView)
async def remove_autoscaler(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Remove the rules of scaling: `metadata.instance` counts again."""
    caller.need_administrator()
    return await _change(gateway, service, "autoscaler", None)


@router.put("/services/{service}/cronscaler", response_model=ServiceView)
async def set_cronscaler(
    service: str, gateway: GatewayHere, caller: CallerHere, body: Annotated[dict[str, Any], Body()]
) -> Response:
    """Set scheduled scaling: what stands under `cronscaler` in a description."""
    caller.need_administrator()
    return await _change(gateway, service, "cronscaler", body)


@router.delete("/services/{service}/cronscaler", response_model=ServiceView)
async def remove_cronscaler(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Remove scheduled scaling."""
    caller.need_administrator()
    return await _change(gateway, service, "cronscaler", None)
