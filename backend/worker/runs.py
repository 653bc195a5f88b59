"""The tasks that an instance has in hand: claiming, running, and doing with each what the store wants of it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from backend import logs
from backend.errors import LorapoolError, NotFound
from backend.service import Description
from backend.settings import Settings
from backend.store import instances, services, tasks
from backend.store.call import Call
from backend.store.connection import Store
from backend.store.instances import Orders
from backend.store.outputs import Holder
from backend.task import Task, TaskState
from backend.worker.app_process import AppProcess
from backend.worker.command_run import CommandRun, Surroundings
from backend.worker.patience import patiently
from backend.worker.progress_server import ProgressServer
from backend.worker.query_run import QueryRun, QuerySurroundings

log = logging.getLogger("lorapool.instance")

T = TypeVar("T")

Run: TypeAlias = CommandRun | QueryRun


class Runs:
    """Tasks are run by the worker's thread; `obey`, `hand_back` and `lose` come from others."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        instance: str,
        service: str,
        plain_template: Path,
        training_template: Path,
        lost: Callable[[], bool],
    ) -> None:
        self._store = store
        self._settings = settings
        self._instance = instance
        self._service = service
        self._templates = (plain_template, training_template)
        self._lost = lost
        self._lock = threading.Lock()
        # How often: a task that comes back may begin in one slot while another one still closes the books on it.
        self._at_work: Counter[str] = Counter()
        self._runs: dict[str, Run] = {}
        self._leaving = False
        self._app: AppProcess | None = None
        self._progress: ProgressServer | None = None
        self._on_query: Callable[[], None] = lambda: None
        self._loaded: tuple[str, ...] = ()
        self._load_seconds = 0.0

    def answer_with(self, app: AppProcess, progress: ProgressServer, on_query: Callable[[], None]) -> None:
        """Put queries to this app from here on; it reports to `progress`. `on_query` is called before each."""
        self._app, self._progress, self._on_query = app, progress, on_query

    def note_loaded(self, loaded: tuple[str, ...], load_seconds: float | None = None) -> None:
        """Tell the dispatcher what the app has in memory, and how long it takes to load what it has not."""
        said = loaded, load_seconds or self._load_seconds
        if said != (self._loaded, self._load_seconds):
            self._loaded, self._load_seconds = said
            self._ask(lambda: self._store.run(instances.note_loaded(self._instance, *said)))

    @contextlib.contextmanager
    def at_work(self, task: str) -> Iterator[None]:
        """From before the claim of a task until RQ's books about it are closed."""
        with self._lock:
            self._at_work[task] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[task] -= 1
                self._at_work += Counter()  # drops what is at zero

    @property
    def busy(self) -> bool:
        """Whether anything is at work."""
        with self._lock:
            return bool(self._at_work)

    def present(self) -> Mapping[str, Run]:
        """The runs at this moment; for `obey`, taken before the orders are asked for."""
        with self._lock:
            return dict(self._runs)

    def run(self, task_id: str) -> None:
        """Claim a task and run it to its end; nothing happens when it is not ours to run."""
        attempt = self._ask(lambda: self._store.run(tasks.claim(task_id, self._instance)))
        if not attempt:
            return
        holder = Holder(task_id, attempt, self._instance)
        try:
            known: list[Call[Any]] = [tasks.get(task_id), services.get(self._service)]
            task, deployed = self._ask(lambda: self._store.run_all(known))
            run = self._run_of(task, deployed.description)
        except LorapoolError as error:
            self._give_back(holder, str(error), self._ask)
            return
        with logs.about(task=task_id, attempt=attempt, user=task.user):
            self._work(task, run)

    def _work(self, task: Task, run: Run) -> None:
        with self._lock:
            self._runs[task.id] = run
            leaving = self._leaving
        run.wish("hand back" if leaving else None)
        run.wish(task.cancel)
        log.info("task %s begins", task.id)
        try:
            with self._device_of(task):
                run.work()
        finally:
            with self._lock:
                if self._runs[task.id] is run:
                    del self._runs[task.id]
            log.info("task %s is out of hand", task.id)

    @contextlib.contextmanager
    def _device_of(self, task: Task) -> Iterator[None]:
        """A command has the device for itself: the app gives its memory back, and is warmed up again afterwards."""
        app = self._app
        if app is None or task.kind == "query":
            yield
            return
        warm = self._loaded or app.warm
        app.free()
        self.note_loaded(())
        try:
            yield
        finally:
            app.take_up(warm)

    def obey(self, orders: Orders, present: Mapping[str, Run]) -> None:
        """Do what is wanted. `present` are the runs of before the orders were asked for: a newer one is not in them."""
        for task, run in present.items():
            wanted = orders.tasks.get(task, "lost")
            if wanted == "lost":
                run.lose()
            else:
                run.wish(wanted)
        with self._lock:
            at_work = set(self._at_work)
        # Looked at after the answer: what the store says is running and is not at work here never will be, as when
        # the store went away in the middle of its claim.
        for task, attempt in orders.running.items():
            if task not in at_work:
                # Without patience: this is the thread that renews the lease, and it comes back to it.
                self._give_back(Holder(task, attempt, self._instance), "its instance lost sight of it", _once)

    def hand_back(self) -> None:
        """Have every run, and any to come, save what it can and go back to the queue."""
        with self._lock:
            self._leaving = True
        for run in self.present().values():
            run.wish("hand back")

    def lose(self) -> None:
        """Kill every run: the tasks are others' now."""
        for run in self.present().values():
            run.lose()

    def _run_of(self, task: Task, service: Description) -> Run:
        """A query is a request to an app, and never run as a command."""
        if task.kind == "query":
            self._on_query()
            return QueryRun(self._query_surroundings(service), task)
        return CommandRun(self._surroundings(service), task)

    def _query_surroundings(self, service: Description) -> QuerySurroundings:
        return QuerySurroundings(
            store=self._store,
            settings=self._settings,
            instance=self._instance,
            service=service,
            app=self._app,
            progress=self._progress,
            lost=self._lost,
            loaded=self.note_loaded,
        )

    def _surroundings(self, service: Description) -> Surroundings:
        plain, training = self._templates
        return Surroundings(
            store=self._store,
            settings=self._settings,
            instance=self._instance,
            service=service,
            plain_template=plain,
            training_template=training,
            lost=self._lost,
        )

    def _give_back(
        self, holder: Holder, reason: str, ask: Callable[[Callable[[], TaskState]], TaskState]
    ) -> None:
        log.warning("task %s goes back: %s", holder.task, reason)
        with contextlib.suppress(LorapoolError):
            call = tasks.give_back(holder, reason, counted=True, max_delivery=self._limit())
            ask(lambda: self._store.run(call))

    def _limit(self) -> int:
        """The most deliveries; 0 (no limit) where the service is no more: the task is cancelled then."""
        try:
            return self._store.run(services.get(self._service)).description.queue.max_delivery
        except NotFound:
            return 0

    def _ask(self, ask: Callable[[], T]) -> T:
        return patiently(ask, self._lost)


def _once(ask: Callable[[], T]) -> T:
    return ask()
