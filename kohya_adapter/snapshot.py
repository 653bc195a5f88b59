"""A training as it is submitted: everything it needs, written into its own job folder and never changed again.

    jobs/<task id>/form.json      the form, as Kohya's JSON, to load again
                   config.toml    what the trainer is told
                   prompts.txt    the sample prompts
                   dataset.toml   a copy of the dataset file, where the form names one
                   logs/          TensorBoard
                   output/        checkpoints, states, samples, the finished LoRA

Two submissions of one form never touch each other's files, and later edits of the form or of a dataset file do not
reach a job that waits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import InvalidArgument
from backend.paths import LORAS, confined, job_dir
from kohya_adapter import toml_text
from kohya_adapter.allowed import refusals
from kohya_adapter.command import command
from kohya_adapter.form import Form, dumps
from kohya_adapter.launch import words
from kohya_adapter.resolve import absolute_paths, additional_parameters, read_dataset_toml
from kohya_adapter.script_arguments import check_launch

FORM, CONFIG, PROMPTS, DATASET = "form.json", "config.toml", "prompts.txt", "dataset.toml"
LOGS, OUTPUT = "logs", "output"

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BAD_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One submission. `files` is name -> text, relative to `job_dir`; nothing is written until `write`.

    `publish_dir` is where the finished LoRA goes once it is proved good; `environment` holds no secrets.
    """

    job_dir: Path
    files: Mapping[str, str]
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    output_name: str
    publish_dir: Path
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def output_dir(self) -> Path:
        """Where the run puts what it makes."""
        return self.job_dir / OUTPUT

    @property
    def logging_dir(self) -> Path:
        """Where the run puts its TensorBoard files."""
        return self.job_dir / LOGS

    @property
    def output_file(self) -> Path:
        """The file that proves success."""
        return self.output_dir / f"{self.output_name}.safetensors"

    def write(self) -> None:
        """Make the job folder with everything in it.

        Raises:
            FileExistsError: there is a job of this id already; it was not changed.
        """
        self.job_dir.mkdir(parents=True)
        for name in (OUTPUT, LOGS):
            (self.job_dir / name).mkdir()
        for name, text in self.files.items():
            (self.job_dir / name).write_text(text, encoding="utf-8")


def snapshot(
    form: Form, *, task_id: str, data_dir: Path, script: str | None = None, accelerate: str = "accelerate"
) -> Snapshot:
    """What a submission of this form consists of, every path absolute. Reads the dataset file, writes nothing.

    Raises:
        InvalidArgument: an output name, free arguments or a dataset file that cannot be used, or a name that would
            make the trainer import code.
        PathOutsideDataFolder: at the field whose path leaves the data folder.
    """
    if not _TASK_ID.fullmatch(task_id):
        raise InvalidArgument("task_id", f"{task_id!r} cannot name a folder")
    for refusal in refusals(form):
        raise refusal
    check_output_name(form.text("output_name"))
    check_launch(words(form, "extra_accelerate_launch_args"))
    folder = job_dir(data_dir.resolve(), task_id)
    resolved = absolute_paths(form, data_dir)
    dataset = _dataset(resolved, data_dir)
    inside = {"output_dir": str(folder / OUTPUT), "logging_dir": str(folder / LOGS)}
    if dataset:
        inside["dataset_config"] = str(folder / DATASET)
    run = command(
        resolved.replace(inside),
        config_file=str(folder / CONFIG),
        sample_prompts=str(folder / PROMPTS),
        script=script,
        accelerate=accelerate,
        additional=additional_parameters(form, data_dir),
    )
    files = {FORM: dumps(form) + "\n", CONFIG: run.config_toml, PROMPTS: run.prompts, **dataset}
    return Snapshot(
        job_dir=folder,
        files=files,
        argv=run.argv,
        environment=run.environment,
        secrets=run.secrets,
        output_name=form.text("output_name"),
        publish_dir=confined(data_dir, form.text("output_dir") or LORAS, field="output_dir"),
    )


def check_output_name(name: str) -> None:
    """Refuse names that are no plain file name everywhere.

    Raises:
        InvalidArgument: at `output_name`.
    """
    bad = _BAD_IN_NAMES.search(name)
    if not name:
        raise InvalidArgument("output_name", "is empty; give the LoRA a name")
    if bad:
        raise InvalidArgument(
            "output_name", f"cannot hold {bad.group()!r}: it is the name of a file, not a path"
        )
    if name.startswith((".", "-")) or name.endswith("."):
        raise InvalidArgument("output_name", "cannot start with a dot or a dash, nor end with a dot")
    if len(name.encode()) > 150:
        raise InvalidArgument("output_name", "is longer than 150 bytes, too long for the checkpoints' names")


def _dataset(form: Form, data_dir: Path) -> dict[str, str]:
    path = form.text("dataset_config")
    return {DATASET: toml_text.dumps(read_dataset_toml(Path(path), data_dir))} if path else {}
