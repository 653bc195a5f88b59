"""`lorapool replay`: one trace, one autoscaler, the usual rules beside it, as figures, a table and a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument
from backend.scaling.autoscaler import Autoscaler, Strategy, parse_autoscaler
from backend.scaling.generator import SHAPES, generate
from backend.scaling.offline import offline_optimum
from backend.scaling.plot import timeline_svg
from backend.scaling.replay import LiveRule, Outcome, Replay, Rule, World
from backend.scaling.rivals import RIVALS
from backend.scaling.trace import TraceTask, read_trace

THIS = "this autoscaler"


@dataclass(frozen=True, slots=True)
class Row:
    """One rule's figures on one trace."""

    rule: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Report:
    """What a replay found; `rows` begins with the autoscaler asked for. Costs are instance-seconds."""

    trace: str
    tasks: int
    busy_seconds: float
    optimum_seconds: float
    world: World
    rows: tuple[Row, ...]
    picture: str

    def to_json(self) -> dict[str, Any]:
        """The figures of the autoscaler asked for, at the top level; with rivals, theirs under `rivals`."""
        first, *others = self.rows
        figures: dict[str, Any] = asdict(first.outcome) | {
            "trace": self.trace,
            "tasks": self.tasks,
            "busy_seconds": self.busy_seconds,
            "optimum_seconds": self.optimum_seconds,
            "world": asdict(self.world),
        }
        if others:
            figures["rivals"] = [{"rule": row.rule, **asdict(row.outcome)} for row in others]
        return figures

    def table(self) -> str:
        """The rows as a Markdown table, under a line about the trace."""
        share = self.optimum_seconds / self.busy_seconds
        head = (
            f"{self.trace}: {self.tasks} tasks, {self.busy_seconds / 3600:.1f} GPU-hours of work, cold start "
            f"{self.world.cold_start:g} s. Cost 1 is the cheapest plan in hindsight in which nobody waits "
            f"({share:.3f} times the work)."
        )
        return "\n".join([head, "", *markdown(self.rows)])


def markdown(rows: Iterable[Row]) -> Iterable[str]:
    """Lines of a Markdown table of figures."""
    yield "| rule | cost | wait mean | p50 | p95 | p99 | longest | starts | kills |"
    yield "| --- | --: | --: | --: | --: | --: | --: | --: | --: |"
    for row in rows:
        o = row.outcome
        waits = " | ".join(f"{w:.0f} s" for w in (o.wait_p50, o.wait_p95, o.wait_p99, o.wait_max))
        yield f"| {row.rule} | {o.cost_ratio:.3f} | {o.wait_mean:.1f} s | {waits} | {o.starts} | {o.kills} |"


def replay_report(
    trace: str,
    autoscaler: Path | None,
    world: World,
    *,
    speed: float = 1.0,
    rivals: bool = False,
) -> Report:
    """Replay `trace`, a file or `synthetic:inference[:tasks]` or `synthetic:training[:tasks]`.

    `autoscaler` is a JSON file with an autoscaler, or with a description that has one; None for the defaults with
    `min` 0. `speed` divides the arrival times. Raises InvalidInput where something cannot be read.
    """
    if speed <= 0 or world.cold_start < 0:
        raise InvalidArgument("speed" if speed <= 0 else "cold_start", "must be greater than 0")
    tasks = [replace(task, arrival=task.arrival / speed) for task in load(trace)]
    settings = read_autoscaler(autoscaler)
    run = Replay(tasks, LiveRule(), settings, world)
    rows = [Row(THIS, run.run())]
    if rivals:
        rows += compare(tasks, settings, world)
    best = offline_optimum(tasks, world.cold_start)
    picture = timeline_svg(run.samples, f"{Path(trace).name}, cold start {world.cold_start:g} s")
    return Report(Path(trace).name, len(tasks), best.busy, best.cost, world, tuple(rows), picture)


def compare(tasks: Sequence[TraceTask], settings: Autoscaler, world: World) -> list[Row]:
    """The EAS rule and the usual rules of the field within the same bounds."""
    eas = settings.model_copy(
        update={"strategies": (Strategy(metricName="avg_waiting_length", threshold=2),)}
    )
    rules: list[tuple[str, Autoscaler, Rule]] = [("EAS default, same bounds", eas, LiveRule())]
    rules += [(rival.name, settings, rival.make(world.cold_start)) for rival in RIVALS]
    return [Row(name, Replay(tasks, rule, bounds, world).run()) for name, bounds, rule in rules]


def load(trace: str) -> list[TraceTask]:
    """The tasks of a trace file, or of the generator."""
    if not trace.startswith("synthetic:"):
        return read_trace(Path(trace))
    _, workload, count = (trace + ":").split(":", 2)
    number = count.rstrip(":") or "5000"
    for name in SHAPES:
        if workload == name and number.isdigit() and int(number) > 0:
            return generate(name, int(number))
    raise InvalidArgument(
        "trace", f"{trace!r} is not known; try synthetic:inference:5000 or synthetic:training:5000"
    )


def read_autoscaler(path: Path | None) -> Autoscaler:
    """The autoscaler in a JSON file, which may be a whole service description; None for the defaults with min 0."""
    if path is None:
        return parse_autoscaler({"min": 0})
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument("autoscaler", f"{path} cannot be read as JSON: {error}") from error
    if isinstance(data, dict) and isinstance(data.get("autoscaler"), dict):
        data = data["autoscaler"]
    return parse_autoscaler(data)
