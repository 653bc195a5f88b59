"""`lorapool replay`: one trace, one autoscaler, the usual rules beside it, as figures, a table and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument
from backend.scaling.autoscaler import Autoscaler, Strategy, parse_autoscaler
from backend.scaling.generator import generate, workload_named
from backend.scaling.offline import fewest_loads, offline_optimum
from backend.scaling.plot import timeline_svg
from backend.scaling.replay import LiveRule, Outcome, Replay, Rule, World, base_model
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
    _check(world, speed)
    tasks = _faster(load(trace, world.seed), speed)
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


def _check(world: World, speed: float) -> None:
    """Raise InvalidArgument where a number makes no sense; `not … >=` because NaN is none either."""
    if not (math.isfinite(world.cold_start) and world.cold_start >= 0):
        raise InvalidArgument("cold-start", "must be 0 or more seconds. Nothing was replayed.")
    if not 0 <= world.boot_sigma <= 3:
        raise InvalidArgument("boot-sigma", "must be between 0 and 3. Nothing was replayed.")
    if world.progress is not None and not 0 <= world.progress < 1:
        raise InvalidArgument("progress", "is an error between 0 and 1. Nothing was replayed.")
    if not (math.isfinite(speed) and speed > 0):
        raise InvalidArgument("speed", "must be greater than 0. Nothing was replayed.")


def _faster(tasks: Iterable[TraceTask], speed: float) -> list[TraceTask]:
    return [replace(task, arrival=task.arrival / speed) for task in tasks]


def load(trace: str, seed: int = 0) -> list[TraceTask]:
    """The tasks of a trace file, or of the generator."""
    if not trace.startswith("synthetic:"):
        return read_trace(Path(trace))
    _, name, count = (trace + ":").split(":", 2)
    number = count.rstrip(":") or "5000"
    if not (number.isdecimal() and 0 < int(number) <= 1_000_000):
        raise InvalidArgument("trace", f"{trace!r} asks for {number!r} tasks; try synthetic:inference:5000")
    return generate(workload_named(name), int(number), seed)


def read_autoscaler(path: Path | None) -> Autoscaler:
    """The autoscaler in a JSON file, which may be a whole service description; None for the defaults with min 0."""
    if path is None:
        return parse_autoscaler({"min": 0})
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            "autoscaler", f"{path} cannot be read as JSON: {error}. Nothing was replayed."
        ) from error
    if not isinstance(data, dict):
        raise InvalidArgument("autoscaler", f"{path} holds no object. Nothing was replayed.")
    return parse_autoscaler(data.get("autoscaler", data))


@dataclass(frozen=True, slots=True)
class Affinity:
    """Dispatch without and with regard to what instances have loaded, at one load.

    `fewest`: the loads that serving in order takes in hindsight, on as many instances as the latter had.
    """

    load: float
    without: Outcome
    regarded: Outcome
    fewest: int


@dataclass(frozen=True, slots=True)
class AffinityReport:
    """What regard to loaded base models brings; `switch` is the time to load one, in seconds, `kept` how many stay."""

    trace: str
    tasks: int
    switch: float
    loads: tuple[Affinity, ...]
    kept: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def table(self) -> str:
        """Two rows a load, as a Markdown table under a line about the trace."""
        lines = [
            f"{self.trace}: {self.tasks} tasks; base models an instance keeps: {self.kept}; "
            f"another takes {self.switch:g} s.",
            "",
            "| load | dispatch | base models loaded | wait mean | p95 | longest | most overtaken |",
            "| --: | --- | --: | --: | --: | --: | --: |",
        ]
        for each in self.loads:
            for name, o in (("first come, first served", each.without), ("warm models first", each.regarded)):
                waits = " | ".join(f"{wait:.0f} s" for wait in (o.wait_mean, o.wait_p95, o.wait_max))
                lines.append(f"| ×{each.load:g} | {name} | {o.switches} | {waits} | {o.overtaken} |")
            switches = each.regarded.switches / max(each.without.switches, 1)
            mean = each.regarded.wait_mean / max(each.without.wait_mean, 1e-9)
            lines.append(f"| | ratio | {switches:.2f} | {mean:.2f} | | | |")
            lines.append(f"| | fewest possible in order, in hindsight | {each.fewest} | | | | |")
        return "\n".join(lines)


def affinity_report(
    trace: str,
    autoscaler: Path | None,
    world: World,
    switch: float,
    *,
    speed: float = 1.0,
    loads: Sequence[float] = (1.0, 10.0),
) -> AffinityReport:
    """Replay `trace` at each of `loads`, with and without regard to loaded models.

    Raises InvalidInput where something cannot be read, or where the trace names no base models.
    """
    _check(world, speed)
    if not (math.isfinite(switch) and switch > 0):
        raise InvalidArgument("affinity-compare", "must be more than 0 seconds. Nothing was replayed.")
    tasks = load(trace, world.seed)
    if not any(base_model(task) for task in tasks):
        raise InvalidArgument("trace", f"{trace} has no column base_model. Nothing was replayed.")
    settings = read_autoscaler(autoscaler)
    compared = []
    for times in loads:
        at = _faster(tasks, speed * times)
        blind, seeing = (
            Replay(at, LiveRule(), settings, replace(world, switch=switch, affinity=regard))
            for regard in (False, True)
        )
        without, regarded = blind.run(), seeing.run()
        room = [(each.at, (each.idle + each.busy) * world.models_kept) for each in seeing.samples]
        wanted = [(task.arrival, model) for task in at for model in base_model(task)]
        compared.append(Affinity(times, without, regarded, fewest_loads(wanted, room)))
    return AffinityReport(Path(trace).name, len(tasks), switch, tuple(compared), world.models_kept)
