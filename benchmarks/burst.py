"""A burst from zero on a whole deployment: `min 0, max 4`, eight tasks of three seconds put at once.

Once with our own rule (no strategies), once as PAI-EAS scales (`avg_waiting_length`, with its grace before zero).
Then tasks one at a time to an instance that idles. Reaction (from an event to the end of the supervisor's pass) and
claim (from the assignment to the start on the instance) are read from the deployment's own `/metrics`.
Draws the first burst into docs/images/burst.svg.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.client import Client
from benchmarks._plot import Bar, Row, timeline
from benchmarks._pool import Lived, Ran, eventually, histogram, lives, percentile, quantiles, ran, settle
from tests.support.box import Box

TASKS, SECONDS, MOST = 8, 3.0, 4
PACED = 200
GRACE = 5
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "burst.svg"
_BOOT, _IDLE, _RUN = "#b8b8b8", "#9ecae1", "#2b6cb0"

RULES: dict[str, Mapping[str, Any]] = {
    "our rule": {"min": 0, "max": MOST},
    "EAS rule": {
        "min": 0,
        "max": MOST,
        "strategies": {"avg_waiting_length": 1},
        "behavior": {
            "onZero": {"scaleDownGracePeriodSeconds": GRACE},
            "scaleDown": {"stabilizationWindowSeconds": 1},
        },
    },
}


def main() -> None:
    """Measure, print, draw."""
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder) / "data").start()
        try:
            with box.client() as client:
                settle(box)
                _burst(box, client, "our rule")
                _paced(box, client)
                _burst(box, client, "EAS rule")
        finally:
            box.stop()


def _burst(box: Box, client: Client, rule: str) -> None:
    name = rule.replace(" ", "-").lower()
    client.create_service(
        {"metadata": {"name": name, "type": "ScalableJob"}, "autoscaler": dict(RULES[rule])}
    )
    service = client.service(name)
    began = time.time()
    handles = [service.submit(command=f"sleep {SECONDS:g}") for _ in range(TASKS)]
    for handle in handles:
        view = handle.wait(60.0)
        assert view.state == "succeeded", view
    done = [ran(handle) for handle in handles]
    eventually(lambda: not client.instances(name), 300.0, "back to zero")
    alive = lives(box, name)
    firsts = sorted(min(run.started for run in done if run.instance == life.id) - began for life in alive)
    print(f"{rule}: {dict(RULES[rule])}")
    print(f"  first task running after       {firsts[0]:8.3f} s")
    print(f"  {MOST} instances busy after        {firsts[MOST - 1]:8.3f} s")
    print(f"  all {TASKS} done after              {max(run.ended for run in done) - began:8.3f} s")
    print(f"  back to zero after             {max(life.gone for life in alive) - began:8.3f} s")
    used = sum(life.gone - life.ordered for life in alive)
    print(f"  instance-seconds used          {used:8.1f} s (work: {TASKS * SECONDS:.0f} s)")
    _say_metrics(box, name)
    if rule == "our rule":
        PICTURE.write_text(_draw(began, alive, done))
        print(f"  drawn into docs/images/{PICTURE.name}")


def _say_metrics(box: Box, service: str) -> None:
    for metric in ("reaction", "claim", "boot", "pass"):
        print(f"  {metric:30} {quantiles(histogram(box, metric, service))}")


def _paced(box: Box, client: Client) -> None:
    """One task after another to an instance that has nothing to do."""
    autoscaler = {"min": 1, "max": 1}
    client.create_service({"metadata": {"name": "paced", "type": "ScalableJob"}, "autoscaler": autoscaler})
    service = client.service("paced")
    service.submit(command="true").wait(60.0)
    handles = []
    for _ in range(PACED):
        handle = service.submit(command="true")
        handle.wait(60.0)
        handles.append(handle)
    waits = [run.started - run.put for run in map(ran, handles)]
    print(f"{PACED} tasks, one at a time, to an idle instance")
    print(
        f"  put to running                 p50 {percentile(waits, 0.5) * 1000:.1f} ms, "
        f"p99 {percentile(waits, 0.99) * 1000:.1f} ms"
    )
    _say_metrics(box, "paced")


def _draw(began: float, alive: Sequence[Lived], done: Sequence[Ran]) -> str:
    rows = []
    numbers = {id(run): n for n, run in enumerate(sorted(done, key=lambda run: run.started), 1)}
    for n, life in enumerate(alive, 1):
        bars = [
            Bar(life.ordered - began, life.ready - began, _BOOT, "starting"),
            Bar(life.ready - began, life.gone - began, _IDLE, "idle"),
        ]
        bars += [
            Bar(run.started - began, run.ended - began, _RUN, f"task {numbers[id(run)]}")
            for run in done
            if run.instance == life.id
        ]
        rows.append(Row(f"instance {n}", tuple(bars)))
    title = f"{TASKS} tasks of {SECONDS:g} s put at once, from zero instances"
    return timeline(title, rows, [(_BOOT, "starting"), (_RUN, "running a task"), (_IDLE, "idle")])


if __name__ == "__main__":
    main()
