"""What a command task runs: the built-in trainer, a real sd-scripts checkout, or any command.

A payload is a shell command, as in EAS; a front end's own tasks come as argument lists and never meet a shell. A
command line that names one of kohya's training scripts is a training: run by the checkout at `SD_SCRIPTS_DIR` where
there is one, else by the built-in trainer.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from backend.records import FileWritten
from backend.settings import SECRETS
from backend.storage.packages import BIN
from backend.task import Task

BUILT_IN = frozenset({"train_network.py", "sdxl_train_network.py", "flux_train_network.py"})
"""Scripts of sd-scripts that the built-in trainer stands in for."""

_SCRIPT = re.compile(r"(?:\w+_)?train(?:_\w+)?\.py")
_SIMPLE_LOG = "--console_log_simple"  # without it, log lines are wrapped at the width of a terminal
_SHELL_SYNTAX = re.compile(r"[;&|<>$`(){}*?\[\]~#\n]|^\s*\w+=")
_RUNS_CODE = frozenset({"-c", "-m"})
_LAUNCHERS = frozenset({"accelerate.commands.launch", "accelerate.commands.accelerate_cli"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be started. `entry` is set when it is a call into the built-in trainer."""

    argv: tuple[str, ...]
    entry: str | None = None
    training: bool = False
    kohya_console: bool = False

    @property
    def saves_on_request(self) -> bool:
        """Whether SIGUSR1 makes it save its state and end."""
        return self.entry is not None

    def resumed(self, state: FileWritten | None, *, mid_epoch: bool = True) -> Plan:
        """The same, continued from a saved state where there is one.

        sd-scripts writes a step into its states that is too small after a resume, so it is told the true one. Without
        `mid_epoch` it does the state's epoch again from its start: when it accumulates gradients it cannot count the
        batches to skip, and would leave out the rest of the epoch.
        """
        if state is None or not self.training:
            return self
        extra = ["--resume", state.path]
        if self.kohya_console:
            extra += ["--skip_until_initial_step"] if mid_epoch else []
            extra += ["--initial_step", str(state.step)] if state.step is not None else []
        return replace(self, argv=(*self.argv, *extra))


def plan(task: Task, *, sd_scripts: str = "") -> Plan:
    """What the payload of a command task stands for."""
    as_given = task.argv or ("/bin/sh", "-c", task.data.decode("utf-8", "replace"))
    argv = task.argv if task.argv is not None else words(task.data)
    script = _script_position(argv) if argv else None
    if argv is None or script is None:
        return Plan(as_given)
    name = PurePath(argv[script]).name
    if sd_scripts and (real := Path(sd_scripts, name)).is_file():
        launch = [
            _python_of(sd_scripts),
            "-m",
            "accelerate.commands.launch",
            *argv[_after_launch(argv) : script],
        ]
        words_behind = [word for word in argv[script + 1 :] if word != _SIMPLE_LOG]
        return Plan((*launch, str(real), *words_behind, _SIMPLE_LOG), training=True, kohya_console=True)
    if name in BUILT_IN and not sd_scripts:
        own = (
            ("--mixed_precision", precision)
            if (precision := _option(argv[:script], "--mixed_precision"))
            else ()
        )
        return Plan((name, *own, *argv[script + 1 :]), entry=TRAINER, training=True)
    return Plan(as_given)


def _python_of(sd_scripts: str) -> str:
    """The Python of a checkout's own virtual environment where it has one, else this one."""
    found = (Path(sd_scripts, folder, "bin", "python") for folder in ("venv", ".venv"))
    return next((str(path) for path in found if path.exists()), sys.executable)


TRAINER = "backend.training.train_network:main"


def training_arguments(argv: Sequence[str]) -> list[str] | None:
    """The arguments behind the training script of a command line that the built-in trainer would run, else None."""
    script = _script_position(argv)
    return (
        list(argv[script + 1 :]) if script is not None and PurePath(argv[script]).name in BUILT_IN else None
    )


def training_script(argv: Sequence[str], *, sd_scripts: str = "") -> int | None:
    """Where the training script stands in a command line that `plan` takes for a training, else None."""
    script = _script_position(argv) if argv else None
    if script is None:
        return None
    name = PurePath(argv[script]).name
    known = Path(sd_scripts, name).is_file() if sd_scripts else name in BUILT_IN
    return script if known else None


def words(data: bytes) -> tuple[str, ...] | None:
    """A shell command as an argument list, or None where a shell is needed to understand it."""
    text = data.decode("utf-8", "replace").strip()
    if _SHELL_SYNTAX.search(text):
        return None
    try:
        return tuple(shlex.split(text)) or None
    except ValueError:
        return None


def _script_position(argv: Sequence[str]) -> int | None:
    """Where the training script stands: behind `accelerate launch …` or `python`, before its own arguments."""
    if not argv:
        return None
    program = PurePath(argv[0]).name
    if not (program.startswith("python") or program == "accelerate" or _SCRIPT.fullmatch(program)):
        return None
    for position, word in enumerate(argv):
        if word.endswith(".py") and not word.startswith("-"):
            return position if _SCRIPT.fullmatch(PurePath(word).name) else None
        if word in _RUNS_CODE and (position + 1 == len(argv) or argv[position + 1] not in _LAUNCHERS):
            # What follows is a program of its own, or the option of a launcher: `accelerate launch -m`.
            return None
    return None


def _after_launch(argv: Sequence[str]) -> int:
    """Where the launcher's own arguments begin."""
    return next((n + 1 for n, word in enumerate(argv) if word == "launch" or word in _LAUNCHERS), 1)


def _option(argv: Sequence[str], name: str) -> str | None:
    for position, word in enumerate(argv):
        if word == name and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith(name + "="):
            return word.partition("=")[2]
    return None


def environment(task: Task, base: Mapping[str, str], *, data_dir: Path, job_dir: Path) -> dict[str, str]:
    """The variables of a run: the instance's without its secrets, the task's own, and what keeps consoles readable."""
    inherited = {name: value for name, value in base.items() if name not in SECRETS}
    # As after activating it: `python` and `accelerate` are those of the environment that lorapool runs in.
    own = [base[BIN]] if base.get(BIN) else []
    path = os.pathsep.join([*own, str(Path(sys.executable).parent), base.get("PATH", os.defpath)])
    return {
        **inherited,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
        "TERM": "dumb",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "HF_HUB_OFFLINE": base.get("HF_HUB_OFFLINE", "1"),
        "LORAPOOL_DATA_DIR": str(data_dir),
        "LORAPOOL_TASK_ID": task.id,
        "LORAPOOL_JOB_DIR": str(job_dir),
        **task.environment,
    }
