"""What the Service page asks for.

GET  live/pool                        services and instances
GET  live/services/{name}/about       decisions, seconds of instances by user, and the settings of scaling
GET  live/services/{name}/history     lengths of the queue and numbers of instances over time
POST live/services/{name}/autoscaler  other settings of scaling
POST live/services/{name}/stop        let what runs end, and hold what is queued
POST live/services/{name}/start       let it go on
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from pydantic import BaseModel, Field

from app.people import gateway_of, person_of
from backend.errors import NotFound

router = APIRouter(prefix="/live")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SERVICE_KEYS = (
    *("name", "type", "state", "created_at", "min", "max", "waiting", "running", "instances", "warnings"),
)
_DECISIONS = 60
_LENGTHS = ("avg_waiting_length", "queue[avgbacklog]")
"""Names of the metric of the queue's length per instance."""
_DIAL = ("preset", "comfort")
_STRATEGIES = ("strategies", "scaleStrategies")


class Settings(BaseModel):
    """The settings of scaling as the page has them.

    `rule` is `work`, our own, which `comfort` sets between economy and comfort, or `length`, which asks for an
    instance for each `threshold` tasks; None leaves a rule as it is.
    """

    min: int = Field(ge=0, le=1000)
    max: int = Field(ge=0, le=1000)
    rule: Literal["work", "length"] | None = None
    comfort: float = Field(default=0.5, ge=0, le=1)
    threshold: float = Field(default=1.0, gt=0, le=1e9)


def settings_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a service's description; `rule` is `other` where the page has no words for it."""
    # Reading the scaler's rules would cost the start of the front end a third of a second.
    from backend.scaling import parse_autoscaler

    known = parse_autoscaler(description.get("autoscaler") or _bounds_of(description))
    own = [each for each in known.strategies if each.metric in _LENGTHS and not each.service]
    rule = "work" if not known.strategies else "length" if len(own) == len(known.strategies) == 1 else "other"
    return {
        **{"min": known.min, "max": known.max, "rule": rule, "comfort": known.comfort},
        "threshold": own[0].threshold if rule == "length" else 1.0,
    }


def _bounds_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """What holds where a description has no `autoscaler`: `metadata.instance`."""
    count = int((description.get("metadata") or {}).get("instance") or 1)
    return {"min": min(1, count), "max": max(1, count)}


def with_settings(description: Mapping[str, Any], wanted: Settings) -> dict[str, Any]:
    """The `autoscaler` of a description with these settings; what the page does not show stays as it is."""
    raw = {**(description.get("autoscaler") or {}), "min": wanted.min, "max": wanted.max}
    if wanted.rule is None:
        return raw
    raw = {key: value for key, value in raw.items() if key not in (*_DIAL, *_STRATEGIES)}
    if wanted.rule == "work":
        return raw | {"comfort": wanted.comfort}
    return raw | {"strategies": {_LENGTHS[0]: wanted.threshold}}


def _service(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise NotFound(f"There is no service {name[:80]!r}.")
    return f"services/{name}"


@router.get("/pool")
async def pool(request: Request) -> Any:
    gateway = gateway_of(request)
    services, instances = await asyncio.gather(gateway.get("services"), gateway.get("instances"))
    # A page never sees a token: not the front end's, and not a service's.
    shown = [{key: service.get(key) for key in _SERVICE_KEYS} for service in services["services"]]
    return {"now": time.time(), "services": shown, "may_change": person_of(request).operator, **instances}


@router.get("/services/{name}/about")
async def about(request: Request, name: str) -> Any:
    gateway, path = gateway_of(request), _service(name)
    service, usage, decisions = await asyncio.gather(
        gateway.get(path),
        gateway.get(f"{path}/usage"),
        gateway.get("decisions", service=name, limit=_DECISIONS),
    )
    return {"settings": settings_of(service["description"]), **usage, **decisions}


@router.get("/services/{name}/history")
async def history(
    request: Request, name: str, hours: Annotated[float, Query(gt=0, le=24 * 31)] = 24.0
) -> Any:
    return await gateway_of(request).get(f"{_service(name)}/history", hours=str(hours))


@router.post("/services/{name}/autoscaler")
async def set_autoscaler(request: Request, name: str, wanted: Settings) -> Any:
    """Change the settings; what is wrong with them is said, and then nothing was changed."""
    gateway, path = gateway_of(request), _service(name)
    raw = with_settings((await gateway.get(path))["description"], wanted)
    answer = await gateway.put(f"{path}/autoscaler", raw)
    return {"settings": settings_of(answer["description"])}


@router.post("/services/{name}/stop")
async def stop(request: Request, name: str) -> Any:
    """Pause it: what runs ends, what is queued waits."""
    return {"state": (await gateway_of(request).post(f"{_service(name)}/stop", {}))["state"]}


@router.post("/services/{name}/start")
async def start(request: Request, name: str) -> Any:
    """Let a paused one go on."""
    return {"state": (await gateway_of(request).post(f"{_service(name)}/start", {}))["state"]}


def install(app: FastAPI) -> None:
    """Add the routes; `app.state` must have `gateway`."""
    app.include_router(router)
