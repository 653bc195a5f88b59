"""`lorapool form …`: the training form without a page: presets, import, check, the command line that it makes."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.options import DEFAULT_DATA, AsJson, DataDir, print_json, print_table

app = typer.Typer(help="Kohya forms: presets, import, check, command line.", no_args_is_help=True)

FormFile = Annotated[
    Path, typer.Argument(help="Kohya's JSON, sd-scripts' TOML, or a LoRA whose settings are wanted.")
]


@app.command()
def presets(name: Annotated[str, typer.Argument(help="Print this one as Kohya's JSON.")] = "") -> None:
    """List the presets, or print one as a form to edit and submit."""
    from kohya_adapter import form
    from kohya_adapter.presets import preset
    from kohya_adapter.presets import presets as every

    if name:
        print(form.dumps(preset(name).form))
        return
    print_table(("PRESET", "", ""), [(p.name, p.title, p.about) for p in every()], empty="no presets")


@app.command("import")
def import_(file: FormFile) -> None:
    """Print a file's settings as Kohya's JSON; what could not be taken over is said on standard error."""
    from kohya_adapter import bring, form

    loaded = bring.load(file)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(form.dumps(loaded.form))


@app.command()
def check(file: FormFile, as_json: AsJson = False, data_dir: DataDir = DEFAULT_DATA) -> None:
    """Say what is wrong with a form, field by field, and what its run will be. Exit code 2 if it cannot be queued."""
    from kohya_adapter import bring
    from kohya_adapter.validate import validate

    checked = validate(bring.load(file, data_dir.resolve()).form, data_dir.resolve())
    report = checked.estimate
    if as_json:
        print_json(
            {
                "problems": [asdict(problem) for problem in checked.problems],
                "estimate": None if report is None else asdict(report),
            }
        )
    else:
        for problem in checked.problems:
            print(f"{problem.severity}: {problem.field}: {problem.message}")
        if report is not None:
            print(f"{report.pictures} pictures, {report.epochs} epochs, {report.total_steps} steps")
    raise typer.Exit(0 if checked.ok else 2)


@app.command()
def command(file: FormFile, data_dir: DataDir = DEFAULT_DATA) -> None:
    """Print the command line and the configuration that a form becomes. Nothing is queued or written."""
    from kohya_adapter import bring
    from kohya_adapter.snapshot import snapshot

    folder = data_dir.resolve()
    made = snapshot(bring.load(file, folder).form, task_id="job", data_dir=folder)
    print(shlex.join(made.argv))
    for name, text in made.files.items():
        if name.endswith((".toml", ".txt")) and text:
            print(f"\n# {name}\n{text.rstrip()}")
