"""A whole deployment for the benchmarks of the pool: what ran where and when, and what `/metrics` says of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from backend.client import TaskHandle
from backend.store import instances
from backend.store.call import command
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from backend.store.keys import key
from backend.store.measures import Histogram
from tests.support.box import Box

QUIET = 0.15
"""A deployment that uses less of a core than this has finished starting."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: on which instance, and when; seconds since the epoch."""

    instance: str
    put: float
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Lived:
    """One instance: when it was ordered, ready and gone; seconds since the epoch."""

    id: str
    ordered: float
    ready: float
    gone: float


def settle(box: Box, deadline: float = 90.0) -> None:
    """Wait until the deployment's processes have come to rest: the templates import for a while."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        before = _cpu(box)
        time.sleep(1.0)
        if _cpu(box) - before < QUIET:
            return


def _cpu(box: Box) -> float:
    total = 0.0
    for pid in box.processes():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def ran(handle: TaskHandle) -> Ran:
    """When the only attempt of a task that has ended ran."""
    view = handle.view()
    (attempt,) = view.attempts
    assert view.finished_at is not None
    return Ran(attempt.instance, view.created_at, attempt.started_at, view.finished_at)


def lives(box: Box, service: str) -> list[Lived]:
    """Every instance of a service that is gone, in the order in which they were ordered."""
    store = Store(EmbeddedStore(box.data_dir).url)
    try:
        found = []
        for name in store.run(instances.past(1000)):
            fields = store.run(command("HGETALL", key("instance", name)))
            text = {field.decode(): value.decode() for field, value in fields.items()}
            if text["service"] == service:
                ordered, gone = float(text["created_at"]), float(text["ended_at"])
                found.append(Lived(name, ordered, float(text.get("ready_at") or gone), gone))
        return sorted(found, key=lambda life: life.ordered)
    finally:
        store.close()


def histogram(box: Box, name: str, service: str) -> Histogram:
    """A histogram of a service as `/metrics` shows it."""
    answer = httpx.get(f"{box.endpoint}/metrics", headers={"Authorization": box.token}).raise_for_status()
    buckets, total = [], 0.0
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.labels.get("service") != service:
                continue
            if sample.name == f"lorapool_{name}_seconds_bucket":
                buckets.append((float(sample.labels["le"]), int(sample.value)))
            elif sample.name == f"lorapool_{name}_seconds_sum":
                total = sample.value
    return Histogram(tuple(sorted(buckets)), total)


def quantiles(histogram: Histogram) -> str:
    """`p50 3 ms, p99 18 ms of 240`; in buckets, as Prometheus reckons."""
    p50, p99 = histogram.quantile(0.5), histogram.quantile(0.99)
    if p50 is None or p99 is None:
        return "nothing measured"
    return f"p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms of {histogram.count}"


def eventually(condition: Callable[[], Any], seconds: float, what: str) -> None:
    """Wait for something, without taking much of the machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"did not happen within {seconds:.0f} s: {what}")
        time.sleep(0.2)


def percentile(values: Sequence[float], q: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
