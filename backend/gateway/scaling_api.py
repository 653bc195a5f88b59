"""How many instances a service wants, as one number: for autoscalers of others, such as KEDA's `metrics-api` scaler."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from backend.errors import Conflict
from backend.gateway.answers import json_answer
from backend.gateway.context import CallerHere, GatewayHere
from backend.gateway.services_api import counts
from backend.service import Description
from backend.views import ScalingView, as_json

router = APIRouter(tags=["services"])


@dataclass(frozen=True, slots=True)
class Bounds:
    """Fewest and most instances."""

    min: int
    max: int


def wanted(description: Description, waiting: int, running: int, bounds: Bounds) -> int:
    """Instances for what waits and runs: one for each command, and one for each `worker_threads` queries."""
    at_once = description.rpc.worker_threads if description.app is not None else 1
    return max(bounds.min, min(bounds.max, math.ceil((waiting + running) / at_once)))


@router.get("/services/{service}/scaling", response_model=ScalingView)
async def get_scaling(service: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """How many instances a service wants at this moment, and what for; a stopped one wants none."""
    # Reading the scaler's rules costs the start of the gateway a quarter of a second.
    from backend.scaling import parse_autoscaler

    caller.need(service)
    deployed = await gateway.catalog.get(service)
    description = deployed.description
    if not description.type.runs_tasks:
        raise Conflict(f"{service} is a {description.type} service: it has no instances to scale")
    rules = parse_autoscaler(description.autoscaler)
    bounds = Bounds(0, 0) if deployed.stopped else Bounds(rules.min, rules.max)
    waiting, running = await counts(gateway, description)
    view = ScalingView(
        service, wanted(description, waiting, running, bounds), waiting, running, bounds.min, bounds.max
    )
    return json_answer(as_json(view))
