"""A form, looked at before anything is queued: all its problems, each at its field, and what the run will be.

Nothing is written, and nothing is imported by name. Reads the folders of the dataset and the base model's files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument, PathOutsideDataFolder
from backend.training import arguments, checks, lost_state, prompts
from kohya_adapter.allowed import refusals
from kohya_adapter.argument_fields import problem_of
from kohya_adapter.config import Config, trainer_config
from kohya_adapter.estimate import estimate
from kohya_adapter.fields import BY_KEY, Field
from kohya_adapter.form import Form
from kohya_adapter.instances import instance_problems
from kohya_adapter.launch import words
from kohya_adapter.problems import Capabilities, Problem, Validation
from kohya_adapter.resolve import absolute_paths, additional_parameters, is_hub_id, path_fields, resolve
from kohya_adapter.rules import broken_rules
from kohya_adapter.script_arguments import check_launch, options, script_arguments
from kohya_adapter.snapshot import check_output_name


def validate(form: Form, data_dir: Path, capabilities: Capabilities | None = None) -> Validation:
    """All problems of a form and, where the dataset can be read, what its run will be.

    `capabilities` is what the instances have; None means the built-in trainer on a machine that has everything.
    """
    instances = capabilities or Capabilities(frozenset({"bitsandbytes", "xformers"}), gpu=True)
    found = [
        *broken_rules(form, sd_scripts=instances.sd_scripts),
        *_free_text(form, data_dir),
        *_paths(form, data_dir, instances),
        *instance_problems(form, instances),
    ]
    report = None
    if not any(problem.severity == "error" and _is_about_paths(problem.field) for problem in found):
        report, more = estimate(absolute_paths(form, data_dir), data_dir, sd_scripts=instances.sd_scripts)
        found += more
    if not instances.sd_scripts and not any(problem.severity == "error" for problem in found):
        found += _built_in(form, data_dir)
    return Validation(tuple(dict.fromkeys(found)), report)


def _is_about_paths(key: str) -> bool:
    field = BY_KEY.get(key)
    return field is not None and field.format in ("file", "folder", "model")


def _free_text(form: Form, data_dir: Path) -> Iterator[Problem]:
    """What is named by hand: files, arguments, classes."""
    checks_to_do = (
        lambda: check_output_name(form.text("output_name")),
        lambda: check_launch(words(form, "extra_accelerate_launch_args")),
        lambda: additional_parameters(form, data_dir),
    )
    for check in checks_to_do:
        try:
            check()
        except InvalidArgument as error:
            yield Problem(error.field, error.message)
        except PathOutsideDataFolder as error:
            yield Problem(error.field or "additional_parameters", str(error))
    for refusal in refusals(form):
        yield Problem(refusal.field, refusal.message)


def _paths(form: Form, data_dir: Path, instances: Capabilities) -> Iterator[Problem]:
    for field in path_fields(form):
        text = form.text(field.key)
        if not text:
            continue
        try:
            path = resolve(data_dir, field, text)
        except PathOutsideDataFolder:
            yield Problem(
                field.key, f"{text} is outside the data folder; move the files there and name them from there"
            )
            continue
        if path != text or Path(path).is_absolute():
            yield from _existence(field, text, Path(path))
        elif is_hub_id(data_dir, text):
            yield _hub_id(field, text, instances)


def _hub_id(field: Field, text: str, instances: Capabilities) -> Problem:
    if instances.sd_scripts:
        said = f"{text} is taken for a model of the Hugging Face hub; the instances need the network for it"
        return Problem(field.key, said, "warning")
    return Problem(
        field.key,
        f"there is no {text} in the data folder; put the model under models/ and name it from there",
    )


def _existence(field: Field, text: str, path: Path) -> Iterator[Problem]:
    if field.key == "output_dir":
        if path.exists() and not path.is_dir():
            yield Problem(field.key, f"{text} is a file, not a folder")
    elif not path.exists():
        there_is_none = (
            f"there is no {text} in the data folder; choose what is there from the list, or put it there"
        )
        yield Problem(field.key, lost_state.explain(path) if field.key == "resume" else there_is_none)
    elif field.format == "folder" and not path.is_dir():
        yield Problem(field.key, f"{text} is a file, not a folder")
    elif field.format == "file" and not path.is_file():
        yield Problem(field.key, f"{text} is a folder, not a file")
    elif field.key == "resume" and not (path / lost_state.STATE_FILE).is_file():
        yield Problem(field.key, f"{text} is no saved training state: it has no train_state.json")


def _built_in(form: Form, data_dir: Path) -> Iterator[Problem]:
    """What the built-in trainer itself says about the arguments and the base model."""
    values: dict[str, Any] = dict(_config(form, data_dir))
    for key in ("sample_prompts", "sample_every_n_steps", "sample_every_n_epochs"):
        values.pop(key, None)
    added = dict(options("additional_parameters", additional_parameters(form, data_dir)))
    values |= {
        name: _typed(name, given, form.family) for name, given in added.items() if name != "sample_at_first"
    }
    try:
        checks.check(arguments.from_values(values, data_dir=data_dir))
    except InvalidArgument as error:
        yield problem_of(error, form, added)
    except PathOutsideDataFolder as error:
        yield Problem(error.field or "dataset_config", str(error))
    for line in form.text("sample_prompts").splitlines():
        if line.strip() and not line.strip().startswith("#"):
            try:
                prompts.parse_line(line.strip())
            except InvalidArgument as error:
                yield Problem("sample_prompts", f"{line.strip()[:40]!r}: {error.message}")


def _config(form: Form, data_dir: Path) -> Config:
    inside = {"output_dir": str(data_dir), "logging_dir": str(data_dir)}
    return trainer_config(absolute_paths(form, data_dir).replace(inside), script_arguments(form.family))


def _typed(name: str, given: list[str], family: str) -> object:
    row = script_arguments(family)[name]
    return True if row.kind == "flag" else given if row.many else given[0]
