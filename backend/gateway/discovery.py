"""Service discovery as the official client asks for it when its endpoint type is `DIRECT`.

On EAS the answer lists the addresses of a service's pods, to go around the load balancer. Here the gateway itself is
all there is: the answer is the address at which the client has just reached it. Needs no token, for the client sends
none, and says nothing about which services there are.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.gateway.answers import json_answer

router = APIRouter(tags=["queue"])

_PORTS = {"http": 80, "https": 443}
_WEIGHT = 100  # of one address among many


@router.get("/servicediscovery/upstreams/{service}")
async def upstreams(service: str, request: Request) -> Response:
    """Where requests to a service go."""
    url = request.url
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    item = {"ip": host, "port": url.port or _PORTS.get(url.scheme, 80), "weight": _WEIGHT}
    return json_answer({"endpoints": {"items": [item]}})
