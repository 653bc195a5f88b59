"""What the deployment looks like right now, for the gauges."""

from __future__ import annotations

from collections import Counter

from backend.gateway.context import Gateway
from backend.gateway.services_api import counts, load_instances


async def refresh(gateway: Gateway) -> None:
    """Set every gauge to what the store says."""
    metrics = gateway.metrics
    for deployed in await gateway.catalog.all():
        name = deployed.description.name
        waiting, running = await counts(gateway, deployed.description)
        metrics.waiting.labels(name).set(waiting)
        metrics.running.labels(name).set(running)
    metrics.instances.clear()
    found = Counter((each.service, each.state.value) for each in await load_instances(gateway))
    for (service, state), number in found.items():
        metrics.instances.labels(service, state).set(number)
