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

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What one gateway counts. Labels are names of services and queues, never of users or tasks."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
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
        self.instances = Gauge(
            "lorapool_instances", "Instances.", ("service", "state"), registry=self.registry
        )

    def text(self) -> bytes:
        """Everything in Prometheus's text form."""
        return generate_latest(self.registry)
