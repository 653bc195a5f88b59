"""The control API about services, instances, decisions, and everything that changes."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from backend.accounts import Caller
from backend.errors import InvalidArgument
from backend.gateway.answers import json_answer
from backend.gateway.context import CallerHere, Gateway, GatewayHere, while_allowed
from backend.gateway.history import thinned
from backend.gateway.task_stream import changes, streamed
from backend.gateway.task_views import instance_view
from backend.instance import Instance, InstanceState
from backend.pool.rolling import outdated
from backend.service import Description
from backend.store import accounts, consumers, instances, measures, pools, task_queue, tasks
from backend.store.services import Deployed
from backend.views import (
    DecisionList,
    HistoryView,
    InfoView,
    InitLogView,
    InstanceList,
    ServiceList,
    ServiceView,
    SpentView,
    UsageView,
    as_json,
)

router = APIRouter(tags=["services"])


@router.get("/info", response_model=InfoView)
async def info(gateway: GatewayHere, caller: CallerHere) -> Response:
    """What one is talking to."""
    names = [each.description.name for each in await gateway.catalog.all()]
    view = InfoView(
        version=version("lorapool"),
        data_dir=str(gateway.settings.data_dir),
        services=[name for name in names if caller.may_use(name)],
        trainer="sd-scripts" if gateway.settings.sd_scripts_dir else "built-in",
        accounts=await gateway.store.run(accounts.count()) > 0,
    )
    return json_answer(as_json(view))


async def load_instances(gateway: Gateway, service: str = "") -> list[Instance]:
    """Instances that are not gone, of one service or of all."""
    ids = await gateway.store.run(instances.ids())
    answers = await gateway.store.run_all([call for name in ids for call in instances.details(name)])
    found = [instances.assemble(name, answers[3 * n : 3 * n + 3]) for n, name in enumerate(ids)]
    return [each for each in found if each is not None and service in ("", each.service)]


async def service_view(
    gateway: Gateway, deployed: Deployed, *, token: bool, warnings: tuple[str, ...] = ()
) -> ServiceView:
    """One service with its counts."""
    # Reading the scaler's rules costs the start of the gateway a quarter of a second.
    from backend.scaling import parse_autoscaler

    description = deployed.description
    bounds = parse_autoscaler(description.autoscaler)
    here = await load_instances(gateway, description.name)
    waiting, running = await counts(gateway, description)
    return ServiceView(
        name=description.name,
        type=description.type.value,
        state=_state(deployed, here),
        created_at=deployed.created_at,
        min=bounds.min,
        max=bounds.max,
        waiting=waiting,
        running=running,
        instances=len(here),
        description=description.raw,
        token=deployed.token if token else None,
        front_end_token=deployed.front_end_token if token else None,
        trouble=deployed.trouble,
        warnings=list(warnings),
    )


async def _shown(gateway: Gateway, caller: Caller, deployed: Deployed) -> ServiceView:
    """A service as the caller may see it: commands, variables and mounts of a description are its operators'."""
    view = await service_view(gateway, deployed, token=caller.administrator)
    described = deployed.description
    if caller.operates(described.name):
        return view
    return replace(
        view,
        description={
            "metadata": {"name": described.name, "type": described.type.value},
            "containers": [{"app": each.app} for each in described.containers if each.app],
            "autoscaler": described.autoscaler,
        },
    )


def _state(deployed: Deployed, here: list[Instance]) -> str:
    """The service's state in EAS's words."""
    if deployed.stopped:
        return "Stopping" if here else "Stopped"
    if not deployed.description.type.runs_tasks:
        return "Running"
    up = [each for each in here if each.state in (InstanceState.IDLE, InstanceState.BUSY)]
    if up:
        current = deployed.description.version
        return "Updating" if any(outdated(each, current) for each in up) else "Running"
    if deployed.trouble:
        return "Failed"
    if not deployed.served:
        return "Creating"
    return "Starting" if here else "Waiting"


async def counts(gateway: Gateway, description: Description) -> tuple[int, int]:
    """How many items wait and how many are being worked on."""
    store, name = gateway.store, description.name
    if description.type.runs_tasks:
        return await store.run(tasks.waiting_count(name)), await store.run(task_queue.active_count(name))
    queue = await store.run(consumers.view(name))
    running = sum(group.pending for group in queue.groups)
    return max(0, queue.length - running), running


@router.get("/services", response_model=ServiceList)
async def list_services(gateway: GatewayHere, caller: CallerHere) -> Response:
    """Services by name."""
    views = [
        as_json(await _shown(gateway, caller, each))
        for each in await gateway.catalog.all()
        if caller.may_use(each.description.name)
    ]
    return json_answer({"services": views})


@router.get("/services/{service}", response_model=ServiceView)
async def get_service(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """One service."""
    caller.need(service)
    deployed = await gateway.catalog.get(service)
    return json_answer(as_json(await _shown(gateway, caller, deployed)))


@router.get("/instances", response_model=InstanceList)
async def list_instances(gateway: GatewayHere, caller: CallerHere, service: str = "") -> Response:
    """Instances that are not gone."""
    found = [each for each in await load_instances(gateway, service) if caller.may_use(each.service)]
    views = [
        instance_view(each if caller.operates(each.service) else replace(each, loaded=())) for each in found
    ]
    return json_answer({"instances": [as_json(view) for view in views]})


@router.get("/decisions", response_model=DecisionList)
async def list_decisions(
    gateway: GatewayHere,
    caller: CallerHere,
    service: str = "",
    limit: Annotated[int, Query(ge=1, le=2000)] = 100,
) -> Response:
    """What the scaler decided, why, and why not more; newest first."""
    if not service:
        names = [each.description.name for each in await gateway.catalog.all()]
        if len(names) != 1:
            raise InvalidArgument("service", f"name one of {', '.join(names) or 'no services'}")
        service = names[0]
    caller.need(service)
    return json_answer({"decisions": await gateway.store.run(pools.decisions(service, limit))})


@router.get("/services/{service}/history", response_model=HistoryView)
async def get_history(
    service: str,
    gateway: GatewayHere,
    caller: CallerHere,
    hours: Annotated[float, Query(gt=0, le=24 * 31)] = 24.0,
    points: Annotated[int, Query(ge=2, le=10_000)] = 600,
) -> Response:
    """How long the queue was and how many instances there were, of the last `hours`, thinned out to `points`."""
    caller.need(service)
    await gateway.catalog.get(service)
    now = time.time()
    moments = await gateway.store.run(pools.history(service, now - hours * 3600))
    return json_answer({"now": now, "moments": thinned(moments, points)})


@router.get("/services/{service}/init-log", response_model=InitLogView)
async def get_init_log(
    service: str, gateway: GatewayHere, caller: CallerHere, instance: str = ""
) -> Response:
    """What an instance printed while it prepared itself: the one that is named, else the last that printed anything."""
    caller.need_operator(service)
    await gateway.catalog.get(service)
    run = gateway.store.run
    names = [*await run(instances.ids()), *await run(instances.past(instances.PAST_KEPT))]
    answers = await gateway.store.run_all([call for name in names for call in instances.details(name)])
    known = [instances.assemble(name, answers[3 * n : 3 * n + 3]) for n, name in enumerate(names)]
    mine = [each for each in known if each is not None and each.service == service]
    for each in sorted(mine, key=lambda each: -each.created_at):
        if instance in ("", each.id) and (lines := await run(instances.init_log(each.id))):
            return json_answer(as_json(InitLogView(each.id, lines)))
    return json_answer(as_json(InitLogView(instance, [])))


@router.get("/services/{service}/usage", response_model=UsageView)
async def get_usage(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Seconds of instances that each user has had since the service was deployed, the largest first."""
    caller.need(service)
    await gateway.catalog.get(service)
    done = measures.assemble([await gateway.store.run(call) for call in measures.read(service)])
    users = sorted({user for _, user in done.spent})
    if not caller.operates(service):
        users = [user for user in users if user == caller.user]
    spent = [
        SpentView(user, *(round(done.spent.get((what, user), 0.0), 3) for what in ("run", "boot", "idle")))
        for user in users
    ]
    spent.sort(key=lambda each: -(each.run + each.boot + each.idle))
    return json_answer(as_json(UsageView(spent)))


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_changes(request: Request, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Which tasks, instances and services change, as server-sent events."""
    return streamed(while_allowed(request, changes(gateway, caller.services)))
