"""Dispatch and scaling as pure functions, run by the supervisor and by the replay.

One pass, on every event (put, finish, ready, gone, settings) and at `decision.wake_at`:

    from backend.scaling import Memory, Snapshot, plan
    result = plan(snapshot, memory)      # Plan(assignments, decision, memory)
    result.assignments                   # Assignment(task, instance): carry out first
    result.decision                      # start: int; cancel, stop, drain: instance ids; why; why_not_more; wake_at
    memory = result.memory               # keep; Memory.to_json() / Memory.from_json(data)

    journal.record(snapshot, result.decision)                      # journal = Journal(); iterate for entries
    expected_starts(snapshot, memory.overtaken)                    # {task id: Expected(position, start | None)}

Filled by the caller: `Snapshot`, `WaitingTasks`, `RunningTask`, `InstanceView` (see `snapshot.py`), with
`Usage` (recent GPU-seconds per user) and `Estimator` (run times from what finished; `Durations` for cold starts).
`settings` comes from `parse_autoscaler(description["autoscaler"])`, `scheduled` from
`Calendar(parse_cronscaler(description["cronscaler"])).at(now)`.
"""

from backend.scaling.autoscaler import Autoscaler, parse_autoscaler, unknown_parts
from backend.scaling.cron import Calendar, CronScaler, Scheduled, parse_cronscaler
from backend.scaling.dispatch import pick
from backend.scaling.estimate import Durations, Estimator
from backend.scaling.fairness import Usage
from backend.scaling.journal import Entry, Journal
from backend.scaling.memory import Memory
from backend.scaling.policy import Decision, Plan, decide, plan
from backend.scaling.predict import Expected, expected_starts, foreseen
from backend.scaling.snapshot import Assignment, InstanceView, RunningTask, Snapshot, after
from backend.scaling.waiting import WaitingTask, WaitingTasks

__all__ = [
    "Assignment",
    "Autoscaler",
    "Calendar",
    "CronScaler",
    "Decision",
    "Durations",
    "Entry",
    "Estimator",
    "Expected",
    "InstanceView",
    "Journal",
    "Memory",
    "Plan",
    "RunningTask",
    "Scheduled",
    "Snapshot",
    "Usage",
    "WaitingTask",
    "WaitingTasks",
    "after",
    "decide",
    "expected_starts",
    "foreseen",
    "parse_autoscaler",
    "parse_cronscaler",
    "pick",
    "plan",
    "unknown_parts",
]
