"""An instance: a light process that runs the tasks it is given, one after another, and keeps its lease.

    main thread      waits for the end
    lease thread     renews the lease, hears what is wanted, passes it on to the runs
    worker threads   RQ's workers, one for each slot: take a task, run it, report
    preparation      what has to be done before the first task; the lease is kept meanwhile
    app threads      where the service has an app for queries: start it, restart it, see whether it is ready

An instance with an app takes tasks once the app is ready, and leaves when the app cannot be brought up.
When the lease cannot be renewed in time, somebody else may be given the tasks: the instance kills what it runs and
ends, whatever the reason.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from backend import logs
from backend.errors import LorapoolError, StoreUnavailable
from backend.instance import InstanceState
from backend.processes import here, wait_until
from backend.service import Container, Description
from backend.settings import Settings
from backend.settings import read as read_settings
from backend.signal_safe import SignalSafeEvent
from backend.storage.housekeeping import too_full
from backend.storage.mounts import Mounts, mounts_of
from backend.store import instances, services
from backend.store.connection import Store
from backend.worker import jobs, rq_worker
from backend.worker.app_process import AppProcess, AppSettings
from backend.worker.patience import patiently
from backend.worker.preparation import Means, Preparation, prepare
from backend.worker.progress_server import ProgressServer
from backend.worker.runs import Runs
from backend.worker.vitals import Watch

log = logging.getLogger("lorapool.instance")

DRAINED, TOLD_TO_LEAVE = "drained", "told to leave"
ORPHANED = "what had started it is gone"
"""What an instance says of its end when that was wanted."""

_RENEWALS_PER_LEASE = 5
_PAUSE = 0.2
_NOTICE = 0.1  # a signal may come between two looks of the main thread
_LAST_RUN = 5.0
_SHARE_OF_A_START = 0.8  # an app that is late is reported before its instance is taken for lost


class Agent:
    """The life of one instance."""

    def __init__(
        self,
        settings: Settings,
        instance: str,
        service: str,
        *,
        plain_template: Path,
        training_template: Path,
    ) -> None:
        self.settings = settings
        self.instance = instance
        self.store = Store(settings.redis_url)
        self._leaving = SignalSafeEvent()
        self._lost = threading.Event()
        self._done = threading.Event()
        self._service = service
        self._templates = (plain_template, training_template)
        self._app: AppProcess | None = None
        self._preparation: Preparation | None = None
        self._app_fault, self._disk_fault = "", ""
        self._why_leave = TOLD_TO_LEAVE
        self._workers, self._adding = 0, threading.Lock()
        self._renewed = time.monotonic()
        self._vitals = Watch()
        self._runs = Runs(
            self.store,
            settings,
            instance=instance,
            service=service,
            plain_template=plain_template,
            training_template=training_template,
            lost=self._lost.is_set,
        )

    def live(self) -> int:
        """Run until the instance is drained, told to leave, or has lost its lease; the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self._leaving.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._renew()
        jobs.set_runner(self._runs.run)
        description = self.store.run(services.get(self._service)).description
        self.store.run(instances.note_version(self.instance, description.version))
        self._preparation = Preparation(description, self._means())
        if not self._preparation.needed:
            self._begin(description)
        else:
            self.store.run(instances.note_preparation(self.instance, description.preparation_deadline))
            self._thread(partial(self._prepare, description, self._preparation))
        self._vitals.start()
        self._thread(self._keep_lease)
        told = False
        while not self._done.wait(_NOTICE):
            if self._leaving.is_set() and not told:
                told = True
                self._nudge()
        return 3 if self._lost.is_set() else 0

    def _begin(self, description: Description) -> None:
        """Take tasks, or start the app that has to be ready before."""
        if description.app is None:
            self._open(1)
        else:
            self._start_app(description, description.app)

    def _means(self) -> Means:
        def say(lines: list[str]) -> None:
            calls = instances.add_to_init_log(self.instance, lines)
            patiently(lambda: self.store.run_all(calls), self._done.is_set)

        def note(text: str) -> None:
            patiently(lambda: self.store.run(instances.note_start(self.instance, text)), self._done.is_set)

        return Means(self.settings, self.instance, self._templates[0], say, note)

    def _prepare(self, description: Description, preparation: Preparation) -> None:
        """Prepare, then begin; an instance that could not prepare itself leaves, and says why."""
        try:
            variables, fault = prepare(preparation)
            if not fault:
                os.environ.update(variables)
                patiently(lambda: self._begin(description), self._done.is_set)
                return
            preparation.say_failed(fault)
        except Exception as error:
            log.exception("instance %s could not prepare itself", self.instance)
            fault = f"it could not prepare itself: {error!r}"
        self._why_leave = fault if not self._leaving.is_set() else self._why_leave
        self._leaving.set()
        self._nudge()

    def _open(self, slots: int) -> None:
        """Take tasks, up to `slots` at once."""
        if (
            self.store.run(instances.ready(self.instance, here(), os.environ.get("LORAPOOL_DEVICE", "")))
            is not InstanceState.IDLE
        ):
            log.warning("instance %s is not wanted any more", self.instance)
            self._done.set()
            return
        self._add_workers(slots)

    def _add_workers(self, slots: int) -> None:
        """Have as many RQ workers as there are slots."""
        with self._adding:
            for slot in range(self._workers, slots):
                self._thread(partial(self._work, slot))
            self._workers = max(self._workers, slots)

    def _thread(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, daemon=True).start()

    def _start_app(self, service: Description, container: Container) -> None:
        progress = ProgressServer()
        plain, training = self._templates
        slots = service.rpc.worker_threads
        settings = AppSettings(
            container=_at_home(
                container,
                mounts_of(
                    service,
                    self.settings.data_dir,
                    instance=self.instance,
                    files_of=self.settings.files_of,
                ),
            ),
            health_check_path=service.rpc.health_check_path,
            template=plain,
            training_template=training,
            unload_path=service.rpc.unload_path,
            data_dir=self.settings.data_dir,
            start_deadline=self.settings.start_deadline * _SHARE_OF_A_START,
            stop_grace=self.settings.stop_grace,
            back_port=progress.port,
        )
        opened = False

        def changed() -> None:
            nonlocal opened
            if app.ready and not opened:
                self._open(slots)
                opened = True
            elif app.given_up:
                self._why_leave = app.fault
                self._leaving.set()
                self._nudge()
            self._runs.note_loaded(app.warm if app.ready else ())
            # Neither a lazy app that does not run nor one that made room is a reason against a task.
            self._app_fault = "" if app.lazy or app.resting else app.fault
            self._say_how_fit()

        app = self._app = AppProcess(settings, lambda: patiently(changed, self._done.is_set))
        self._runs.answer_with(app, progress, lambda: self._add_workers(slots))
        app.start()
        if app.lazy:
            opened = True
            self._open(1)

    def _look_at_disk(self) -> None:
        """Take no task while the disk is too full for what it would write."""
        least = self.settings.least_free_gb
        fault = too_full(self.settings.data_dir, least, before=bool(self._disk_fault))
        if bool(fault) != bool(self._disk_fault):
            self._disk_fault = fault
            self._say_how_fit()

    def _say_how_fit(self) -> None:
        fault = self._disk_fault or self._app_fault
        self.store.run_all(instances.note_unfit(self.instance, self._service, fault))

    def leave_with(self, owner: int) -> None:
        """Leave as at SIGTERM when the descriptor `owner` ends: whoever started this instance is gone."""

        def watch() -> None:
            while os.read(owner, 1):
                pass
            self._why_leave = ORPHANED
            self._leaving.set()

        threading.Thread(target=watch, name="owner", daemon=True).start()

    def _nudge(self) -> None:
        """Make the lease thread ask for orders now; it does so soon in any case."""
        with contextlib.suppress(StoreUnavailable):
            self.store.run(instances.nudge(self.instance))

    def _work(self, slot: int) -> None:
        """Keep an RQ worker at it; one that ends (the store was away) is followed by another."""
        while not self._done.is_set():
            try:
                worker = rq_worker.listen(self.settings.redis_url, self.instance, self._at_work, slot=slot)
                worker.work(logging_level="ERROR")
            except Exception as error:
                # Without a worker this would be an instance that is given tasks and begins none.
                log.warning("the worker of %s ended (%r); starting another", self.instance, error)
            self._done.wait(_PAUSE)

    @contextlib.contextmanager
    def _at_work(self, task: str) -> Iterator[None]:
        with self._runs.at_work(task):
            yield
        self._nudge()

    def _keep_lease(self) -> None:
        lease = self.settings.lease_seconds
        while not self._done.is_set():
            try:
                with self.store.listen(instances.orders(self.instance)) as wakes:
                    while not self._done.is_set():
                        self._renew()
                        wakes.get_message(timeout=min(lease / _RENEWALS_PER_LEASE, 2.0))
            except Exception as error:
                # Whatever it was, the lease is not being renewed.
                if time.monotonic() - self._renewed > lease * 0.9:
                    self._lose(f"the lease could not be renewed in time ({error})")
                self._done.wait(_PAUSE)

    def _renew(self) -> None:
        asked = time.monotonic()
        present = self._runs.present()
        lease = instances.renew(self.instance, self.settings.lease_seconds, self._vitals.take())
        orders = self.store.run(lease)
        if orders.state is InstanceState.GONE:
            self._lose("the lease was over")
            return
        if asked - self._renewed > self.settings.lease_seconds:
            # The process stood still for longer than its lease (a stopped or sleeping machine): what it held may
            # have been given away in between, and only the orders just read say what is still its own.
            log.warning("instance %s was away for %.1f s", self.instance, asked - self._renewed)
        self._renewed = asked
        self._runs.obey(orders, present)
        self._look_at_disk()
        if self._leaving.is_set():
            self._leave(orders.state)
        elif orders.state is InstanceState.DRAINING and not orders.tasks and not self._runs.busy:
            self._end(DRAINED)

    def _leave(self, state: InstanceState) -> None:
        if state is not InstanceState.DRAINING:
            self.store.run(instances.enter(self.instance, InstanceState.DRAINING, reason=self._why_leave))
        self._runs.hand_back()
        if not self._runs.busy:
            self._end(self._why_leave)

    def _end(self, reason: str) -> None:
        if self._preparation is not None:
            self._preparation.stop()
        if self._app is not None:
            # First: the next instance may be given the same device and the same port.
            self._app.close()
        self.store.run(instances.gone(self.instance, reason, counted=False, max_delivery=0))
        self._done.set()

    def _lose(self, why: str) -> None:
        log.error("instance %s ends: %s", self.instance, why)
        self._lost.set()
        self._runs.lose()
        wait_until(lambda: not self._runs.present(), _LAST_RUN)
        self._done.set()


def _at_home(container: Container, mounts: Mounts) -> Container:
    """The container with the paths below mounts as they are on this machine."""
    env = tuple(each.model_copy(update={"value": mounts.text(each.value)}) for each in container.env)
    texts = {"command": mounts.text(container.command), "script": mounts.text(container.script)}
    return container.model_copy(update={**texts, "env": env})


def main(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> int:
    """Entry of an instance that the template forks.

    Its `life` descriptor stays open as long as it lives; where there is an `owner` descriptor, it leaves when that
    one ends.
    """
    try:
        settings = read_settings()
        logging.getLogger("httpx").setLevel(logging.WARNING)
        names = {"service": argument["service"], "instance": argument["instance"]}
        logs.configure("instance", settings.log_format, **names)
        agent = Agent(
            settings,
            argument["instance"],
            argument["service"],
            plain_template=Path(argument["plain_template"]),
            training_template=Path(argument["training_template"]),
        )
        if "owner" in descriptors:
            agent.leave_with(descriptors["owner"])
        code = agent.live()
    except LorapoolError as error:
        log.error("instance %s could not start: %s", argument["instance"], error)
        code = 1
    # Threads that wait for the store have nothing left to say.
    os._exit(code)
