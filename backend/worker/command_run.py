"""One attempt of a command task, from its claim to its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from backend import paths
from backend.errors import LorapoolError, RunFailed, StaleAttempt, StoreUnavailable
from backend.pool.template import TemplateUnavailable
from backend.records import Failed, FileWritten, Phase, Record, Result
from backend.service import Description
from backend.settings import Settings
from backend.store import instances, tasks
from backend.store.connection import Store
from backend.store.tasks import Holder
from backend.task import Task, TaskState
from backend.worker import command, proof
from backend.worker.command import Plan
from backend.worker.kohya_console import KohyaConsole
from backend.worker.lines import Interpreter, PlainLines
from backend.worker.outcome import Outcome, Wish, judge
from backend.worker.program import Program
from backend.worker.reporter import Reporter

T = TypeVar("T")

_RETRY = 0.2


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run needs of its instance. `lost` says that the instance may no longer speak for anything."""

    store: Store
    settings: Settings
    instance: str
    service: Description
    plain_template: Path
    training_template: Path
    lost: Callable[[], bool]


class CommandRun:
    """One attempt. `work` runs in a thread of the instance; `wish` may come from any other."""

    def __init__(self, around: Surroundings, task: Task) -> None:
        self._around = around
        self._task = task
        self._holder = Holder(task.id, task.attempt, around.instance)
        self._job_dir = paths.job_dir(around.settings.data_dir, task.id)
        self._sink = around.service.sink if around.service.logs_to_queue("command") else ""
        self._lock = threading.Lock()
        self._program: Program | None = None
        self._wish: Wish = None
        self._plan = command.plan(task, sd_scripts=around.settings.sd_scripts_dir)
        self._failure = ""
        self._output = ""
        self._last_line = ""

    def wish(self, what: Wish | Literal["lost"]) -> None:
        """Ask the run to end: stop it, let it save first, hand it back, or (lost) kill it, it is another's now."""
        with self._lock:
            if what == "lost":
                if self._program is not None:
                    self._program.stop(0.0)
                return
            if self._wish == what or self._wish == "stop":
                return
            self._wish = what
            if self._program is not None:
                self._pass_on(self._program)

    def _pass_on(self, program: Program) -> None:
        settings = self._around.settings
        if self._wish in ("save", "hand back") and self._plan.saves_on_request:
            program.save(settings.save_grace)
        else:
            program.stop(settings.stop_grace)

    def work(self) -> None:
        """Run the task to its end and report that.

        Raises:
            RunFailed: it failed, so that RQ's books say so too; the store has the outcome already.
        """
        self._job_dir.mkdir(parents=True, exist_ok=True)
        try:
            outcome = self._outcome()
        except StaleAttempt:
            return
        except StoreUnavailable:
            if self._around.lost():
                return
            raise
        except OSError as error:
            outcome = Outcome("failed", f"the instance could not run it: {error.strerror or error}")
        except LorapoolError as error:
            outcome = Outcome("returned", str(error), counted=True)
        self._report(outcome)
        if outcome.verdict == "failed":
            raise RunFailed(outcome.reason)

    def _outcome(self) -> Outcome:
        around = self._around
        reporter = Reporter(
            around.store,
            self._holder,
            sink=self._sink,
            log_file=self._job_dir / "log.txt",
            give_up=around.lost,
        )
        state = self._last_state()
        plan = self._plan.resumed(state)
        reporter.say(self._opening(plan), [Phase("starting")])
        reporter.flush()
        began = time.time()
        program = self._start(plan)
        around.store.run(instances.note_run(around.instance, program.group, program.place.started_at))
        with self._lock:
            self._program = program
            if self._wish is not None:
                self._pass_on(program)
        ending = program.run(_Listening(self._interpreter(state), self), reporter, self._hear)
        self._retry(lambda: around.store.run(instances.note_run(around.instance, 0, 0.0)))
        return judge(
            ending,
            wish=self._wish,
            failure=self._failure,
            last_line=self._last_line,
            missing=self._missing(began) if plan.training and ending.exit_code == 0 else "",
        )

    def _opening(self, plan: Plan) -> list[str]:
        if self._task.attempt == 1:
            return []
        resumed = " from its last saved state" if "--resume" in plan.argv else ""
        return [f"— attempt {self._task.attempt}{resumed}, on instance {self._around.instance} —"]

    def _start(self, plan: Plan) -> Program:
        """Start the program; a template that is being replaced is waited for."""
        around = self._around
        template = around.training_template if plan.entry else around.plain_template
        environment = command.environment(
            self._task, os.environ, data_dir=around.settings.data_dir, job_dir=self._job_dir
        )
        deadline = time.monotonic() + around.settings.start_deadline
        while True:
            try:
                return Program(
                    template,
                    plan.argv,
                    entry=plan.entry,
                    environment=environment,
                    cwd=self._job_dir,
                    deadline=max(1.0, deadline - time.monotonic()),
                )
            except TemplateUnavailable:
                if time.monotonic() > deadline or around.lost():
                    raise
                time.sleep(_RETRY)

    def _interpreter(self, state: FileWritten | None) -> Interpreter:
        if not self._plan.kohya_console:
            return PlainLines()
        output = promised_output(self._plan.argv)
        return KohyaConsole(output.parent if output else None, first_step=state.step if state else None)

    def _hear(self, record: Record) -> None:
        match record:
            case Failed(reason):
                self._failure = reason
            case Result(output):
                self._output = output

    def _last_state(self) -> FileWritten | None:
        """The newest saved state that an earlier attempt left."""
        if self._task.attempt < 2 or not self._plan.training:
            return None
        written = self._around.store.run(tasks.files(self._task.id))
        states = [file for file in written if file.kind == "state" and Path(file.path).is_dir()]
        return states[-1] if states else None

    def _missing(self, began: float) -> str:
        """What a training that says it is done did not leave behind; its LoRA is published when all is there."""
        output = Path(self._output) if self._output else promised_output(self._plan.argv)
        if output is None:
            return ""
        fault = proof.fault(output, since=began - 2.0)
        if not fault:
            self._output = str(
                _published(output, self._around.settings.data_dir / paths.LORAS, self._task.id)
            )
        return fault

    def _report(self, outcome: Outcome) -> None:
        """Tell the store how it ended; wait for an output queue that is full."""
        with contextlib.suppress(StaleAttempt):
            while not self._retry(lambda: self._told(outcome)) and not self._around.lost():
                time.sleep(_RETRY)

    def _retry(self, ask: Callable[[], T]) -> T | None:
        """Wait for a store that is away, as long as the instance may speak at all."""
        while not self._around.lost():
            try:
                return ask()
            except StoreUnavailable:
                time.sleep(_RETRY)
        return None

    def _told(self, outcome: Outcome) -> bool:
        store = self._around.store
        if outcome.verdict == "returned":
            limit = self._around.service.queue.max_delivery
            call = tasks.give_back(self._holder, outcome.reason, counted=outcome.counted, max_delivery=limit)
            store.run(call)
            return True
        return store.run(
            tasks.finish(
                self._holder,
                TaskState(outcome.verdict),  # type: ignore[arg-type]
                outcome.reason,
                output=self._output,
                exit_code=outcome.exit_code,
                sink=self._sink,
            )
        )


class _Listening:
    """An interpreter that also keeps the last line, for the reason of a failure."""

    def __init__(self, inner: Interpreter, run: CommandRun) -> None:
        self._inner = inner
        self._run = run

    def feed(self, chunk: bytes) -> tuple[list[str], list[Record]]:
        return self._noted(self._inner.feed(chunk))

    def close(self) -> tuple[list[str], list[Record]]:
        return self._noted(self._inner.close())

    def _noted(self, said: tuple[list[str], list[Record]]) -> tuple[list[str], list[Record]]:
        lines, records = said
        for line in lines:
            if line.strip():
                self._run._last_line = line.strip()
        for record in records:
            self._run._hear(record)
        return said


def promised_output(argv: tuple[str, ...]) -> Path | None:
    """The file that a training's command line and its `--config_file` promise; None when they name none."""
    values: dict[str, str] = {}
    for position, word in enumerate(argv):
        name, equals, inline = word.partition("=")
        if name in ("--output_dir", "--output_name", "--config_file", "--save_model_as"):
            values[name[2:]] = inline if equals else argv[position + 1] if position + 1 < len(argv) else ""
    if "config_file" in values:
        try:
            config = tomllib.loads(Path(values["config_file"]).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            config = {}
        flat = {
            **config,
            **{k: v for part in config.values() if isinstance(part, dict) for k, v in part.items()},
        }
        values = {k: str(v) for k, v in flat.items() if k.startswith(("output_", "save_model_as"))} | values
    if not values.get("output_dir"):
        return None
    suffix = values.get("save_model_as") or "safetensors"
    return Path(values["output_dir"], f"{values.get('output_name') or 'last'}.{suffix}")


def _published(output: Path, folder: Path, task_id: str) -> Path:
    """The finished LoRA under `loras/`, named so that no two tasks meet; a link where the file system allows."""
    target = folder / f"{output.stem}-{task_id[:8]}{output.suffix}"
    target.unlink(missing_ok=True)
    try:
        os.link(output, target)
    except OSError:
        shutil.copyfile(output, target)
    return target
