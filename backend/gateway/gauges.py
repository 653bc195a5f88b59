"""What the deployment looks like right now, and what its pools have done, for a scrape."""

from __future__ import annotations

from collections import Counter

from backend.gateway.context import Gateway
from backend.gateway.services_api import counts, load_instances
from backend.instance import InstanceState
from backend.storage.housekeeping import free_bytes
from backend.store import measures, tasks

_PRESENT = [state for state in InstanceState if state is not InstanceState.GONE]


async def refresh(gateway: Gateway) -> None:
    """Set every gauge to what the store says."""
    store, metrics = gateway.store, gateway.metrics
    lengths, dead, done = {}, {}, {}
    for deployed in await gateway.catalog.all():
        name = deployed.description.name
        lengths[name] = await counts(gateway, deployed.description)
        if deployed.description.type.runs_tasks:
            dead[name] = await store.run(tasks.dead_count(name))
            done[name] = measures.assemble([await store.run(call) for call in measures.read(name)])
    present = Counter((each.service, each.state.value) for each in await load_instances(gateway))
    # All at once from here on: another scrape may be under way.
    metrics.clear()
    for name, (waiting, running) in lengths.items():
        metrics.waiting.labels(name).set(waiting)
        metrics.running.labels(name).set(running)
    for name, number in dead.items():
        metrics.dead.labels(name).set(number)
        for state in _PRESENT:
            metrics.instances.labels(name, state.value).set(present[name, state.value])
    metrics.disk_free.set(free_bytes(gateway.settings.data_dir))
    metrics.pools.measures = done
