"""An instance: a light process that runs the tasks it is given, one after another, and keeps its lease.

    main thread      waits for the end
    lease thread     renews the lease, hears what is wanted, passes it on to the runs
    worker thread    RQ's worker: takes a task, runs it, reports

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis

from backend.errors import LorapoolError, StoreUnavailable
from backend.instance import InstanceState
from backend.processes import here
from backend.settings import Settings
from backend.store import instances, services, tasks
from backend.store.call import command
from backend.store.connection import UNAVAILABLE, Store
from backend.store.instances import Orders
from backend.store.keys import key
from backend.store.tasks import Holder
from backend.task import TaskState
from backend.worker import jobs, rq_worker
from backend.worker.command_run import CommandRun, Surroundings

log = logging.getLogger("lorapool.instance")

_RENEWALS_PER_LEASE = 5
_PAUSE = 0.2
_NO_APP = (
    "this service has no app to answer queries; nothing was run. Give containers[0] a command and a port."
)
_NOTICE = 0.1  # a signal may come between two looks of the main thread


class Agent:
    """The life of one instance."""

    def __init__(self, instance: str, service: str, *, plain_template: Path, training_template: Path) -> None:
        self.settings = Settings().resolved()
        self.instance = instance
        self.store = Store(self.settings.redis_url)
        self._service = service
        self._templates = (plain_template, training_template)
        self._runs: dict[str, CommandRun] = {}
        self._lock = threading.Lock()
        self._leaving = threading.Event()
        self._lost = threading.Event()
        self._done = threading.Event()
        self._told_to_leave = False
        self._renewed = time.monotonic()

    def live(self) -> int:
        """Run until the instance is drained, told to leave, or has lost its lease; the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self._leaving.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._renew()
        if self.store.run(instances.ready(self.instance, here())) is not InstanceState.IDLE:
            log.warning("instance %s is not wanted any more", self.instance)
            return 0
        jobs.set_runner(self.run_task)
        for target in (self._keep_lease, self._work):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        while not self._done.wait(_NOTICE):
            if self._leaving.is_set() and not self._told_to_leave:
                self._told_to_leave = True
                self._nudge()
        return 3 if self._lost.is_set() else 0

    def run_task(self, task_id: str) -> None:
        """Claim a task and run it to its end; nothing happens when it is not ours to run."""
        attempt = self.store.run(tasks.claim(task_id, self.instance))
        if not attempt:
            return
        task = self.store.run(tasks.get(task_id))
        if task.kind == "query":
            # Its payload is a request to an app, never a command line.
            self.store.run(tasks.finish(Holder(task.id, attempt, self.instance), TaskState.FAILED, _NO_APP))
            return
        run = CommandRun(self._surroundings(), task)
        with self._lock:
            self._runs[task_id] = run
        if self._leaving.is_set():
            run.wish("hand back")
        if task.cancel:
            run.wish(task.cancel)
        try:
            run.work()
        finally:
            with self._lock:
                del self._runs[task_id]
            self._nudge()

    def _nudge(self) -> None:
        """Make the lease thread ask for orders now; it does so soon in any case."""
        with contextlib.suppress(StoreUnavailable):
            self.store.run(command("PUBLISH", key("control", self.instance), ""))

    def _surroundings(self) -> Surroundings:
        plain, training = self._templates
        return Surroundings(
            store=self.store,
            settings=self.settings,
            instance=self.instance,
            service=self.store.run(services.get(self._service)).description,
            plain_template=plain,
            training_template=training,
            lost=self._lost.is_set,
        )

    def _work(self) -> None:
        """Keep an RQ worker at it; one that ends (the store was away) is followed by another."""
        while not self._done.is_set():
            try:
                worker = rq_worker.listen(self.settings.redis_url, self.instance)
                worker.work(logging_level="ERROR")
            except redis.RedisError as error:
                log.info("the worker of %s lost the store: %s", self.instance, error)
            except Exception:
                # Without a worker this would be an instance that is given tasks and begins none.
                log.exception("the worker of %s ended unexpectedly; starting another", self.instance)
            time.sleep(_PAUSE)

    def _keep_lease(self) -> None:
        lease = self.settings.lease_seconds
        while not self._done.is_set():
            try:
                with self.store.listen(key("control", self.instance)) as wakes:
                    while not self._done.is_set():
                        self._renew()
                        wakes.get_message(timeout=min(lease / _RENEWALS_PER_LEASE, 2.0))
            except (StoreUnavailable, *UNAVAILABLE):
                if time.monotonic() - self._renewed > lease * 0.9:
                    self._lose("the store has not answered for longer than the lease lasts")
                time.sleep(_PAUSE)

    def _renew(self) -> None:
        asked = time.monotonic()
        # Taken before asking: a task that is given to us while the answer is under way is not in it.
        with self._lock:
            runs = dict(self._runs)
        orders = self.store.run(instances.renew(self.instance, self.settings.lease_seconds))
        if orders.state is InstanceState.GONE:
            self._lose("the lease was over")
            return
        if asked - self._renewed > self.settings.lease_seconds:
            # The process stood still for longer than its lease (a stopped or sleeping machine): what it held may
            # have been given away in between, and only the orders just read say what is still its own.
            log.warning("instance %s was away for %.1f s", self.instance, asked - self._renewed)
        self._renewed = asked
        self._obey(orders, runs)

    def _obey(self, orders: Orders, runs: Mapping[str, CommandRun]) -> None:
        for task, run in runs.items():
            run.wish(orders.tasks.get(task, "lost"))
        if self._leaving.is_set():
            self._leave(orders, runs)
        elif orders.state is InstanceState.DRAINING and not orders.tasks and not runs:
            self._end("drained")

    def _leave(self, orders: Orders, runs: Mapping[str, CommandRun]) -> None:
        if orders.state is not InstanceState.DRAINING:
            self.store.run(instances.enter(self.instance, InstanceState.DRAINING, reason="told to leave"))
        for run in runs.values():
            run.wish("hand back")
        if not runs:
            self._end("told to leave")

    def _end(self, reason: str) -> None:
        self.store.run(instances.gone(self.instance, reason, counted=False, max_delivery=0))
        self._done.set()

    def _lose(self, why: str) -> None:
        log.error("instance %s ends: %s", self.instance, why)
        self._lost.set()
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.wish("lost")
        deadline = time.monotonic() + 5.0
        while self._runs and time.monotonic() < deadline:
            time.sleep(0.05)
        self._done.set()


def main(argument: Mapping[str, Any], descriptors: Mapping[str, int]) -> int:
    """Entry of an instance that the template forks; its `life` descriptor stays open as long as it lives."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    agent = Agent(
        argument["instance"],
        argument["service"],
        plain_template=Path(argument["plain_template"]),
        training_template=Path(argument["training_template"]),
    )
    try:
        code = agent.live()
    except LorapoolError as error:
        log.error("instance %s could not start: %s", argument["instance"], error)
        code = 1
    # Threads that wait for the store have nothing left to say.
    os._exit(code)
