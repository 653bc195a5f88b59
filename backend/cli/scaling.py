"""`lorapool replay` and `lorapool workload`: what an autoscaler would have done, and something to try it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from backend.errors import InvalidArgument, InvalidInput


def replay(
    trace: Annotated[
        str,
        typer.Argument(
            help="A CSV file with arrival_s and service_s, plain or gzip; or synthetic:inference[:TASKS], "
            "synthetic:training[:TASKS]."
        ),
    ],
    autoscaler: Annotated[
        Path | None,
        typer.Option(
            "--autoscaler",
            "-a",
            help="JSON: an autoscaler, or a description that has one. Without one, min is 0.",
        ),
    ] = None,
    cold_start: Annotated[
        float, typer.Option(help="Seconds from ordering an instance to its first task.")
    ] = 60.0,
    boot_sigma: Annotated[float, typer.Option(help="Spread of log-normal boot times; 0 for none.")] = 0.0,
    progress: Annotated[
        float | None,
        typer.Option(
            help="Relative error of what running tasks report to be left; without it they report nothing."
        ),
    ] = None,
    estimates: Annotated[
        bool, typer.Option("--estimates/--no-estimates", help="Guess run times from what has finished.")
    ] = True,
    speed: Annotated[float, typer.Option(help="Let tasks arrive so many times as fast.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of what is random: boots, reports, synthetic traces.")] = 0,
    rivals: Annotated[
        bool | None,
        typer.Option(
            "--rivals/--no-rivals",
            help="Show the usual rules beside it. By default with a table, and not with --json.",
        ),
    ] = None,
    affinity_compare: Annotated[
        float | None,
        typer.Option(
            "--affinity-compare",
            metavar="SECONDS",
            help="Show dispatch with and without regard to loaded base models, a load taking so long, "
            "at this load and ten times as much.",
        ),
    ] = None,
    models_kept: Annotated[
        int, typer.Option(min=1, help="How many base models an instance keeps, for --affinity-compare.")
    ] = 1,
    plot: Annotated[Path | None, typer.Option(help="Write the course of the pool there, as SVG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Replay a trace through the live dispatch and scaling with a virtual clock: what it costs, how long tasks wait."""
    from backend.scaling.replay import World
    from backend.scaling.report import affinity_report, replay_report

    world = World(
        cold_start,
        boot_sigma=boot_sigma,
        estimates=estimates,
        progress=progress,
        models_kept=models_kept,
        seed=seed,
    )
    if affinity_compare is not None:
        if plot is not None:
            raise InvalidArgument("plot", "--affinity-compare draws nothing; give one of the two")
        compared = affinity_report(trace, autoscaler, world, affinity_compare, speed=speed)
        print(json.dumps(compared.to_json(), indent=2) if as_json else compared.table())
        return
    beside = not as_json if rivals is None else rivals
    report = replay_report(trace, autoscaler, world, speed=speed, rivals=beside)
    if plot is not None:
        _write(plot, report.picture)
    print(json.dumps(report.to_json(), indent=2) if as_json else report.table())


def workload(
    kind: Annotated[str, typer.Argument(help="inference or training.")],
    to: Annotated[Path, typer.Argument(help="The CSV file to write; compressed where it ends in .gz.")],
    tasks: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many tasks.")] = 5000,
    seed: Annotated[int, typer.Option(help="Another seed is another trace.")] = 0,
) -> None:
    """Write a synthetic trace with the figures of a production trace, for `lorapool replay`."""
    from backend.scaling.generator import generate, workload_named, write_trace

    trace = generate(workload_named(kind), tasks, seed)
    try:
        write_trace(to, trace)
    except OSError as error:
        raise InvalidInput(f"{to} cannot be written: {error.strerror}. Nothing was kept.") from None
    days = trace[-1].arrival / 86_400
    busy = sum(task.service for task in trace) / 3600
    print(f"{to}: {tasks} tasks over {days:.1f} days, {busy:.1f} GPU-hours of work")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}. Name another file.") from None
