"""One attempt of a command task, from its claim to its end."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from backend import paths
from backend.errors import LorapoolError, RunFailed, StaleAttempt, StorageUnavailable, StoreUnavailable
from backend.pool.template import TemplateUnavailable
from backend.records import Failed, FileWritten, Phase, Record, Result
from backend.service import Description
from backend.settings import Settings
from backend.storage.fetch import NoRoom
from backend.store import accounts, instances, outputs, tasks
from backend.store.connection import Store
from backend.store.outputs import Holder, Refusal
from backend.task import Task, TaskState
from backend.worker import command, proof, result_file
from backend.worker.box_task import BoxTask, BoxVoice
from backend.worker.command import Plan
from backend.worker.kohya_console import KohyaConsole
from backend.worker.lines import Interpreter, PlainLines
from backend.worker.outcome import Outcome, judge
from backend.worker.patience import patiently
from backend.worker.program import Ending, Program
from backend.worker.reporter import Reporter, Sink
from backend.worker.task_files import TaskFiles
from backend.worker.wish import Wish, stronger

log = logging.getLogger("lorapool.instance")

T = TypeVar("T")

_RETRY = 0.2
_LONGEST_REASON = 1000


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
        job_dir = paths.job_dir(around.settings.data_dir, task.id)
        self._reporter: Reporter | None = None
        self._files = TaskFiles(
            around.service, around.settings, task, job_dir, instance=around.instance, tell=self._tell
        )
        self._task = task = self._files.task
        self._holder = Holder(task.id, task.attempt, around.instance)
        self._job_dir = job_dir
        service = around.service
        self._sink = Sink(
            service.sink if service.logs_to_queue("command") else "",
            limit=service.queue.sink.max_payload_size_kb * 1024,
            hurry=self._hurries,
        )
        self._lock = threading.Lock()
        self._program: Program | None = None
        self._wish: Wish = None
        self._wished_at = 0.0
        self._lost = False
        self._plan = command.plan(task, sd_scripts=around.settings.sd_scripts_dir)
        self._failure = ""
        self._output = ""
        self._proved: Path | None = None
        self._last_line = ""

    def wish(self, what: Wish) -> None:
        """Ask the run to end: stop it, let it save first, or hand it back. Of several wishes the strongest counts."""
        with self._lock:
            if not stronger(what, self._wish):
                return
            self._wish, self._wished_at = what, time.monotonic()
            if self._program is not None:
                self._pass_on(self._program)

    def lose(self) -> None:
        """Kill the run: the task is another's now."""
        with self._lock:
            self._lost = True
            if self._program is not None:
                self._program.stop(0.0)

    def _pass_on(self, program: Program) -> None:
        settings = self._around.settings
        if self._wish in ("save", "hand back") and self._plan.saves_on_request:
            program.save(settings.save_grace)
        else:
            program.stop(settings.stop_grace)

    def _hurries(self) -> bool:
        """Whether a full output queue has been waited for long enough by a run that was asked to end."""
        grace = self._around.settings.stop_grace
        return self._wish is not None and time.monotonic() > self._wished_at + grace

    def _given_up(self) -> bool:
        return self._lost or self._around.lost()

    def work(self) -> None:
        """Run the task to its end and report that.

        Raises:
            RunFailed: it failed, so that RQ's books say so too; the store has the outcome already.
        """
        try:
            outcome = self._outcome()
        except (StaleAttempt, StoreUnavailable):
            return  # somebody else has, or will be given, the task: nothing is left to say
        except NoRoom as error:
            # Another box may have room; on one that shares the data folder it would be the same everywhere.
            away = self._files.box is not None
            outcome = Outcome("returned" if away else "failed", str(error), counted=away)
        except RunFailed as error:
            outcome = Outcome("failed", str(error))
        except OSError as error:
            outcome = Outcome("failed", f"the instance could not run it: {error.strerror or error}")
        except LorapoolError as error:
            outcome = Outcome("returned", str(error), counted=True)
        except Exception as error:
            log.exception("task %s could not be run", self._task.id)
            outcome = Outcome("returned", f"the instance could not run it: {error!r}", counted=True)
        self._report(outcome)
        if outcome.verdict == "failed":
            raise RunFailed(outcome.reason)

    def _outcome(self) -> Outcome:
        around = self._around
        self._job_dir.mkdir(parents=True, exist_ok=True)
        reporter = self._reporter = Reporter(
            around.store,
            self._holder,
            sink=self._sink,
            log_file=self._job_dir / "log.txt",
            give_up=self._given_up,
        )
        if self._files.mounts:
            reporter.say([], [Phase("fetching its inputs")])
            reporter.flush()

        with self._files.in_place(self._say, self._unwanted):
            self._plan = replace(self._plan, argv=self._files.argv(self._plan.argv))
            outcome = self._run(reporter)
            if self._files.box is None:
                self._publish()
            if self._files.mounts:
                outcome = self._send_results(outcome, reporter)
        return outcome

    def _say(self, line: str) -> None:
        """A line of ours in the log of the run, at once. For the thread of the run alone, as the next."""
        if self._reporter is not None:
            self._reporter.say([line], [])
            self._reporter.flush()

    def _tell(self, doing: str) -> None:
        if self._reporter is not None:
            self._reporter.say([], [Phase(doing)])
            self._reporter.flush()

    def _run(self, reporter: Reporter) -> Outcome:
        """Run the program to its end, and judge that."""
        state = self._last_state()
        plan = self._plan.resumed(state, mid_epoch=state is None or self._resumes_mid_epoch())
        reporter.say(self._opening(plan), [Phase("starting")])
        reporter.flush()
        began = time.time()
        program = self._start(plan)
        if program is None:
            ending = Ending()
        else:
            try:
                ending = self._ending(program, self._interpreter(state), reporter)
            finally:
                program.close()
        return judge(
            ending,
            wish=self._wish,
            failure=self._failure,
            last_line=self._last_line,
            missing=self._missing(began)
            if plan.training and ending.exit_code == 0 and not self._failure
            else "",
        )

    def _send_results(self, outcome: Outcome, reporter: Reporter) -> Outcome:
        """See that what the run has written reaches its object store, as long as nobody wants the instance back, and
        on a box the gateway, whatever anybody wants but to stop the task; how the attempt ends with that."""
        self._tell("sending its results")
        output = Path(self._output) if self._output and outcome.verdict == "succeeded" else None
        lines, unsent = self._files.finish(self._unwanted, stopped=self._stopped, also=output)
        reporter.say(lines, [])
        box = self._files.box
        if box is not None:
            reporter.say([], box.passed_on((), all_sent=not unsent))
        reporter.flush()
        if box is not None and not unsent:
            self._publish_there(box)
        if unsent and outcome.verdict == "succeeded":
            refused = (
                f"it was done, but {unsent[0].name} did not reach the deployment: the file is on its box"
            )
            return Outcome("cancelled" if self._wish in ("stop", "save") else "failed", refused)
        return outcome

    def _stopped(self) -> bool:
        return self._wish == "stop" or self._given_up()

    def _unwanted(self) -> bool:
        return self._wish is not None or self._given_up()

    def _ending(self, program: Program, interpreter: Interpreter, reporter: Reporter) -> Ending:
        with self._lock:
            self._program = program
            if self._lost:
                program.stop(0.0)
            elif self._wish is not None:
                self._pass_on(program)
        self._note_run(program.group, program.place.started_at)
        box = self._files.box
        voice = reporter if box is None else BoxVoice(box, reporter)
        ending = program.run(_Listening(interpreter, self), voice, self._hear)
        self._note_run(0, 0.0)
        return ending

    def _note_run(self, group: int, started_at: float) -> None:
        around = self._around
        self._patiently(lambda: around.store.run(instances.note_run(around.instance, group, started_at)))

    def _opening(self, plan: Plan) -> list[str]:
        if self._task.attempt == 1:
            return []
        resumed = " from its last saved state" if "--resume" in plan.argv else ""
        return [f"— attempt {self._task.attempt}{resumed}, on instance {self._around.instance} —"]

    def _start(self, plan: Plan) -> Program | None:
        """Start the program; a template that is being replaced is waited for. None when it was not wanted any more."""
        around = self._around
        template = around.training_template if plan.entry else around.plain_template
        environment = (
            command.environment(
                self._task, os.environ, data_dir=around.settings.data_dir, job_dir=self._job_dir
            )
            | self._files.environment
        )
        deadline = time.monotonic() + around.settings.start_deadline

        while not self._unwanted():
            try:
                return Program(
                    template,
                    plan.argv,
                    entry=plan.entry,
                    environment=environment,
                    cwd=self._job_dir,
                    deadline=max(1.0, deadline - time.monotonic()),
                    give_up=self._unwanted,
                )
            except TemplateUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY)
        return None

    def _interpreter(self, state: FileWritten | None) -> Interpreter:
        if not self._plan.kohya_console:
            return PlainLines()
        # Only instances that run sd-scripts pay for TensorBoard's messages.
        from backend.worker.event_file import EventFile

        output = result_file.promised(self._plan.argv, self._job_dir)
        logs = self._option("logging_dir")
        return KohyaConsole(
            output.parent if output else None,
            first_step=state.step if state else None,
            mid_epoch=self._resumes_mid_epoch(),
            curve=EventFile(self._job_dir / logs) if logs else None,
        )

    def _resumes_mid_epoch(self) -> bool:
        """Whether a run that goes on from a state skips the batches that its epoch has had; see `Plan.resumed`."""
        return self._option("gradient_accumulation_steps") in ("", "1")

    def _option(self, name: str) -> str:
        return result_file.options(self._plan.argv, self._job_dir, (name,)).get(name, "")

    def _hear(self, record: Record) -> None:
        match record:
            case FileWritten(kind, path) if kind != "state" and self._plan.kohya_console:
                result_file.share(Path(path))
            case Failed(reason):
                self._failure = reason
            case Result(output):
                self._output = output

    def _last_state(self) -> FileWritten | None:
        """The newest saved state that an earlier attempt left."""
        if self._task.attempt < 2 or not self._plan.training:
            return None
        written = self._patiently(lambda: self._around.store.run(outputs.files(self._task.id)))
        # A state of the very end, as of a run that was killed while it wrote its LoRA, is refused by trainers.
        end = self._task.progress.total if self._task.progress else None
        for file in reversed(written):
            if file.kind != "state" or (end and (file.step or 0) >= end):
                continue
            if (here := self._files.folder(file.path, self._say, self._unwanted)) is not None:
                return replace(file, path=str(here))
        return None

    def _missing(self, began: float) -> str:
        """What a training that says it is done did not leave behind."""
        output = Path(self._output) if self._output else result_file.promised(self._plan.argv, self._job_dir)
        if output is None:
            return ""
        fault = proof.fault(output, since=began - 2.0)
        if not fault:
            self._proved, self._output = output, str(output)
        return fault

    def _publish(self) -> None:
        """Have the LoRA of a training, which was seen to be whole, under `loras/`."""
        if self._proved is None:
            return
        loras = self._around.settings.data_dir / paths.LORAS
        published = result_file.published(self._proved, loras, self._task.id)
        self._output = str(published)
        if self._task.user and published.is_relative_to(loras):
            place = f"{paths.LORAS}/{published.relative_to(loras).parts[0]}"
            self._patiently(lambda: self._around.store.run(accounts.claim(place, self._task.user)))

    def _publish_there(self, box: BoxTask) -> None:
        """The same where the deployment's data folder is."""
        if self._proved is None:
            self._output = box.theirs(self._output)
            return
        proved = self._proved
        while True:
            try:
                self._output = box.publish(proved)
                return
            except StorageUnavailable as error:
                if error.refused or self._stopped():
                    raise RunFailed(f"its LoRA could not be published: {error}") from None
                time.sleep(_RETRY)

    def _report(self, outcome: Outcome) -> None:
        """Tell the store how it ended; wait for an output queue that is full."""
        sink = self._sink.queue
        with contextlib.suppress(StaleAttempt, StoreUnavailable):
            while refusal := self._patiently(lambda: self._told(outcome, sink)):  # noqa: B023
                if refusal != "full" or self._hurries():
                    sink = ""
                elif self._given_up():
                    return
                else:
                    time.sleep(_RETRY)

    def _patiently(self, ask: Callable[[], T]) -> T:
        return patiently(ask, self._given_up)

    def _told(self, outcome: Outcome, sink: str) -> Refusal | None:
        store = self._around.store
        if outcome.verdict == "returned":
            limit = self._around.service.queue.max_delivery
            call = tasks.give_back(self._holder, outcome.reason, counted=outcome.counted, max_delivery=limit)
            store.run(call)
            return None
        return store.run(
            tasks.finish(
                self._holder,
                TaskState(outcome.verdict),  # type: ignore[arg-type]
                _shortened(outcome.reason),
                output=self._output,
                exit_code=outcome.exit_code,
                sink=sink,
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
        notes = self._run._files.notes()
        for line in lines:
            if line.strip():
                self._run._last_line = line.strip()
        for record in records:
            self._run._hear(record)
        return [*lines, *notes], records


def _shortened(reason: str) -> str:
    """A reason that fits into any output queue: an item of one may have 1 kB at the least."""
    return reason.encode()[:_LONGEST_REASON].decode("utf-8", "ignore")
