"""The page about the metrics names those that there are."""

from __future__ import annotations

import re
from pathlib import Path

from backend.gateway.metrics import Metrics
from backend.store.measures import Histogram, Measures

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_every_metric_stands_on_the_page_and_every_one_there_exists() -> None:
    metrics = Metrics()
    one = Histogram(((float("inf"), 1),), 1.0)
    metrics.pools.measures = {
        "s": Measures(dict.fromkeys(("wait", "claim", "boot", "reaction", "pass"), one), {"failed": 1})
    }
    text = metrics.text().decode()
    there = set(re.findall(r"^# TYPE (lorapool_\w+) ", text, re.M))
    named = set(re.findall(r"^\| `(lorapool_\w+)`", PAGE.read_text(), re.M))
    assert named == there
