"""Counters of this process and gauges of the deployment, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from backend.gateway.pool_metrics import PoolMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What one gateway counts, and what the pools have done. Labels of what it counts are names of queues."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._children: dict[tuple[Counter, str], Counter] = {}
        ProcessCollector(registry=self.registry)
        self.pools = PoolMetrics()
        self.registry.register(self.pools)
        labels = ("queue",)
        self.puts = Counter("lorapool_puts", "Items and tasks taken.", labels, registry=self.registry)
        self.refused = Counter(
            "lorapool_refused", "Requests of the queue protocol refused.", ("status",), registry=self.registry
        )
        self.delivered = Counter(
            "lorapool_delivered", "Items given to readers and watchers.", labels, registry=self.registry
        )
        self.watchers = Gauge("lorapool_watchers", "Watchers connected here.", labels, registry=self.registry)
        self.waiting = Gauge("lorapool_waiting", "Items or tasks that wait.", labels, registry=self.registry)
        self.running = Gauge(
            "lorapool_running", "Items or tasks being worked on.", labels, registry=self.registry
        )
        self.disk_free = Gauge(
            "lorapool_disk_free_bytes", "Bytes free on the disk of the data folder.", registry=self.registry
        )
        self.dead = Gauge("lorapool_dead_letters", "Tasks given up.", ("service",), registry=self.registry)
        self.instances = Gauge(
            "lorapool_instances", "Instances.", ("service", "state"), registry=self.registry
        )

    def clear(self) -> None:
        """Forget the gauges of services, of which some may have been removed."""
        for gauge in (self.waiting, self.running, self.instances, self.dead):
            gauge.clear()

    def count_put(self, queue: str) -> None:
        """One more item or task taken."""
        self._child(self.puts, queue).inc()

    def count_delivered(self, queue: str, items: int) -> None:
        """Items given to a reader or watcher."""
        self._child(self.delivered, queue).inc(items)

    def _child(self, counter: Counter, queue: str) -> Counter:
        # Looking a label up takes longer than counting.
        child = self._children.get((counter, queue))
        if child is None:
            child = self._children[counter, queue] = counter.labels(queue)
        return child

    def text(self) -> bytes:
        """Everything in Prometheus's text form."""
        return generate_latest(self.registry)
