"""What the pools have done, from the store's counters, in Prometheus's terms.

The counters live in the store, so that they outlive every process and are the same at each gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from backend.store.measures import Histogram, Measures

HISTOGRAMS: dict[str, str] = {
    "wait": "Seconds from a put to the task's first start.",
    "claim": "Seconds from the assignment of a task to an instance to its start there.",
    "boot": "Seconds from the order of an instance to its being ready.",
    "reaction": "Seconds from an event to the end of the supervisor's pass that dealt with it.",
    "pass": "Seconds that a pass of the supervisor over the service took.",
}
_SPENT = (
    "Seconds of instances (a GPU each, or a CPU slot): run, boot (for whose task came first) "
    "and idle (after whose task it was)."
)


class PoolMetrics(Collector):
    """`measures` is set anew before each scrape."""

    def __init__(self) -> None:
        self.measures: Mapping[str, Measures] = {}

    def collect(self) -> Iterable[Metric]:
        for name, text in HISTOGRAMS.items():
            family = HistogramMetricFamily(f"lorapool_{name}_seconds", text, labels=("service",))
            for service, found in self.measures.items():
                if histogram := found.histograms.get(name):
                    family.add_metric((service,), _buckets(histogram), histogram.sum)
            yield family
        attempts = CounterMetricFamily("lorapool_attempts", "Runs that ended.", labels=("service", "outcome"))
        spent = CounterMetricFamily("lorapool_gpu_seconds", _SPENT, labels=("service", "what", "user"))
        for service, found in self.measures.items():
            for outcome, number in found.attempts.items():
                attempts.add_metric((service, outcome), number)
            for (what, user), seconds in found.spent.items():
                spent.add_metric((service, what, user), seconds)
        yield attempts
        yield spent


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """As the text form wants them: the bound as text, the last one `+Inf`."""
    return [("+Inf" if bound == float("inf") else f"{bound:g}", upto) for bound, upto in histogram.buckets]
