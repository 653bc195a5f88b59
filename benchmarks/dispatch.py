"""One scheduling pass over 2 000 waiting tasks and 100 instances: dispatch, scaling, and the expected start of each.

The supervisor's pure part, as it runs on every event; the aim is under 50 ms. Tasks of 300 users wait; the instances
are all idle (100 or more tasks are handed out) or all busy (nothing is). CPU time, median and slowest of the rounds.
The last table doubles the tasks, to show how the pass grows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend.instance import InstanceState
from backend.scaling import (
    InstanceView,
    Memory,
    RunningTask,
    Snapshot,
    WaitingTask,
    WaitingTasks,
    expected_starts,
    parse_autoscaler,
    plan,
)
from backend.task import Kind

TASKS, INSTANCES, USERS, ROUNDS = 2000, 100, 300, 15
NOW = 3000.0


@dataclass(frozen=True)
class Case:
    """What waits: `models` base models among the tasks, none for 0."""

    name: str
    kind: Kind
    slots: int
    models: int
    strategies: bool = False


CASES = (
    Case("trainings", "command", 1, 0),
    Case("trainings, EAS rule", "command", 1, 0, strategies=True),
    Case("queries, 5 slots", "query", 5, 0),
    Case("queries, 5 slots, 40 models", "query", 5, 40),
    Case("queries, 1 slot, 40 models", "query", 1, 40),
)


def main() -> None:
    """Measure, print two tables."""
    print(
        f"| waiting | instances | pass, median | slowest of {ROUNDS} | handed out | expected starts, median |"
    )
    print("|---|---|---|---|---|---|")
    for case in CASES:
        for busy in (False, True):
            seen = service(case, busy, TASKS)
            spent = timed(lambda seen=seen: plan(seen, Memory()))
            predicted = timed(lambda seen=seen: expected_starts(seen))
            handed = len(plan(seen, Memory()).assignments)
            print(
                f"| {case.name} | {'busy' if busy else 'idle'} | {ms(statistics.median(spent))} | {ms(max(spent))} "
                f"| {handed} | {ms(statistics.median(predicted))} |"
            )
    print("\n| tasks waiting | pass, median |\n|---|---|")
    for tasks in (500, 1000, 2000, 4000, 8000):
        seen = service(CASES[3], False, tasks)
        spent = timed(lambda seen=seen: plan(seen, Memory()))
        print(f"| {tasks} | {ms(statistics.median(spent))} |")


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def timed(work: Callable[[], Any]) -> list[float]:
    """CPU seconds of each round: nothing waits here, so other work on the machine need not count."""
    spent = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return spent


def service(case: Case, busy: bool, tasks: int) -> Snapshot:
    """`tasks` waiting, `INSTANCES` instances that are all idle or all full."""
    settings: dict[str, Any] = {"min": 0, "max": INSTANCES}
    if case.strategies:
        settings["strategies"] = {"avg_waiting_length": 2}
    waiting = WaitingTasks(
        WaitingTask(
            f"t{n}",
            case.kind,
            n * NOW / tasks,
            user=f"u{n % USERS}",
            seconds=30.0,
            models=(f"m{n % case.models}",) if case.models else (),
            index=n,
        )
        for n in range(tasks)
    )
    instances = tuple(_instance(case, busy, n) for n in range(INSTANCES))
    return Snapshot(NOW, parse_autoscaler(settings), waiting, instances, slots=case.slots, cold_start=30.0)


def _instance(case: Case, busy: bool, number: int) -> InstanceView:
    runs = tuple(
        RunningTask(f"r{number}-{slot}", case.kind, 0.0, NOW - 10, f"u{number}", 20.0)
        for slot in range(case.slots if busy else 0)
    )
    return InstanceView(
        f"i{number}",
        InstanceState.BUSY if busy else InstanceState.IDLE,
        0.0,
        case.slots,
        runs,
        None if busy else float(number),
        (f"m{number % 20}",) if case.models else (),
    )
