"""One attempt of a query task: asked of the app of this instance, from its claim to its end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from backend import paths
from backend.errors import RunFailed, StaleAttempt, StoreUnavailable
from backend.records import FileWritten, Record
from backend.service import Description
from backend.settings import Settings
from backend.store import outputs, tasks
from backend.store.connection import Store
from backend.store.outputs import Holder, Refusal
from backend.task import Task, TaskState
from backend.worker import app_request, query_outcome
from backend.worker.app_process import AppProcess
from backend.worker.app_request import AppRequest, Reply
from backend.worker.patience import patiently
from backend.worker.progress_server import ProgressServer
from backend.worker.query_files import QueryFiles
from backend.worker.query_outcome import QueryOutcome
from backend.worker.wish import Wish, stronger

APP_PATIENCE = 2.0
"""Seconds for which a query waits for an app that is down before it goes back to the queue."""

NO_APP = (
    "this service has no app to answer queries; nothing was run. Give containers[0] a command and a port."
)
NOT_IMPLEMENTED = 501
_RETRY = 0.2
_TRIES = 3


@dataclass(frozen=True, slots=True)
class QuerySurroundings:
    """What a query needs of its instance. `lost` says that the instance may no longer speak for anything; `loaded` is
    told which models the app has in memory, and how long loading one takes."""

    store: Store
    settings: Settings
    instance: str
    service: Description
    app: AppProcess | None
    progress: ProgressServer | None
    lost: Callable[[], bool]
    loaded: Callable[[tuple[str, ...], float | None], None]


class QueryRun:
    """One attempt. `work` runs in a thread of the instance; `wish` may come from any other."""

    def __init__(self, around: QuerySurroundings, task: Task) -> None:
        self._around = around
        self._task = task
        self._holder = Holder(task.id, task.attempt, around.instance)
        self._lock = threading.Lock()
        self._wish: Wish = None
        self._lost = False
        self._request: AppRequest | None = None
        self._batch = 0
        self._box = QueryFiles.of(around.service, around.settings, task, instance=around.instance)

    def wish(self, what: Wish) -> None:
        """Ask the query to end. Only one that is handed back may take a little longer, if it is nearly done."""
        with self._lock:
            if not stronger(what, self._wish):
                return
            self._wish = what
            request = self._request
        if request is not None:
            self._pass_on(request)

    def lose(self) -> None:
        """Let go of the app and say nothing more: the task is another's now."""
        with self._lock:
            self._lost = True
            request = self._request
        if request is not None:
            request.cut()

    def _pass_on(self, request: AppRequest) -> None:
        if self._wish == "hand back" and not self._lost:
            timer = threading.Timer(self._around.settings.stop_grace, request.cut)
            timer.daemon = True
            timer.start()
        elif self._wish is not None or self._lost:
            request.cut()

    def work(self) -> None:
        """Ask the app and report what came of it.

        Raises:
            RunFailed: it failed, so that RQ's books say so too; the store has the outcome already.
        """
        outcome: QueryOutcome | None = None
        if self._around.app is None:
            outcome = query_outcome.failed(NOT_IMPLEMENTED, NO_APP)
        else:
            try:
                outcome = self._judged(self._answered(self._around.app))
            except StaleAttempt:
                return
        try:
            outcome = self._report(outcome)
        except StaleAttempt:
            return
        except StoreUnavailable:
            if self._gone():
                return
            raise
        if outcome.verdict == "failed":
            raise RunFailed(outcome.reason)

    def _answered(self, app: AppProcess) -> Reply | None:
        """The app's reply; on a box that does not see the data folder with its files there before and after."""
        box = self._box
        if box is None:
            return self._ask(app)
        with contextlib.closing(box):
            return self._fetched_and_answered(box, app)

    def _fetched_and_answered(self, box: QueryFiles, app: AppProcess) -> Reply | None:
        fault = box.bring(self._unwanted)
        if fault is not None:
            return fault
        with box.kept():
            return box.sent(self._ask(app), self._unwanted)

    def _judged(self, reply: Reply | None) -> QueryOutcome:
        limit = self._around.service.queue.max_delivery
        return query_outcome.judge(
            reply, wish=self._wish, deliveries=self._task.deliveries, max_delivery=limit
        )

    def _gone(self) -> bool:
        return self._lost or self._around.lost()

    def _unwanted(self) -> bool:
        return self._wish is not None or self._gone()

    def _ask(self, app: AppProcess) -> Reply | None:
        """The app's reply; None when it was not there to be asked."""
        url = self._around.progress.open(self._hear) if self._around.progress is not None else ""
        try:
            # An app that has just died may not have been missed yet: what it refused, it was not asked.
            for _ in range(_TRIES):
                port = app.wait_ready(APP_PATIENCE, self._unwanted)
                if port is None or self._unwanted():
                    return None
                reply = self._send(port, url)
                if not reply.refused:
                    if reply.loaded is not None:
                        self._around.loaded(reply.loaded, reply.load_seconds)
                    return reply
                app.doubt()
            return None
        finally:
            if self._around.progress is not None:
                self._around.progress.close(url)

    def _send(self, port: int, progress_url: str) -> Reply:
        rpc, sink = self._around.service.rpc, self._around.service.queue.sink
        request = AppRequest(port, seconds=rpc.keepalive / 1000, largest=sink.max_payload_size_kb * 1024)
        with self._lock:
            self._request = request
        self._pass_on(request)
        target = app_request.target(self._task, rpc.proxy_path)
        data = self._box.data if self._box is not None else self._task.data
        return request.send(target, data, self._headers(progress_url))

    def _headers(self, progress_url: str) -> dict[str, bytes]:
        job_dir = paths.job_dir(self._around.settings.data_dir, self._task.id)
        own = {app_request.PROGRESS_URL: progress_url, app_request.JOB_DIR: str(job_dir)}
        return app_request.headers(self._task, own)

    def _hear(self, record: Record) -> None:
        """Record what the app says about this query; raises StaleAttempt when nobody wants it any more."""
        with self._lock:
            if self._wish in ("stop", "save") or self._lost:
                raise StaleAttempt("this query was stopped")
            if self._box is not None and isinstance(record, FileWritten):
                record = self._box.shown(record)
            self._batch += 1
            call = outputs.append(self._holder, [], [outputs.spoken(record)], batch=self._batch)
            self._around.store.run(call)

    def _report(self, outcome: QueryOutcome) -> QueryOutcome:
        """Tell the store; wait for an output queue that is full, as long as somebody wants the answer."""
        while True:
            refusal = patiently(lambda told=outcome: self._told(told), self._gone)  # type: ignore[misc]
            match refusal:
                case None:
                    return outcome
                case "full" if not self._unwanted():
                    time.sleep(_RETRY)
                case "full":
                    outcome = self._judged(None)
                case _:
                    reason = f"the output queue did not take the answer ({refusal})"
                    outcome = QueryOutcome("failed", f"{outcome.reason or 'the app answered'}; {reason}")

    def _told(self, outcome: QueryOutcome) -> Refusal | None:
        around = self._around
        if outcome.verdict == "returned":
            limit = around.service.queue.max_delivery
            around.store.run(
                tasks.give_back(self._holder, outcome.reason, counted=outcome.counted, max_delivery=limit)
            )
            return None
        return around.store.run(
            tasks.finish(
                self._holder,
                TaskState(outcome.verdict),  # type: ignore[arg-type]
                outcome.reason,
                sink=around.service.sink if outcome.answer is not None else "",
                answer=outcome.answer,
            )
        )
