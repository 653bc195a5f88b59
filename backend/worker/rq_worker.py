"""RQ's worker, living in a thread of an instance.

It listens on the one queue of its instance, which is how RQ pops safely (by moving, not by popping). Leases, retries
and abandoned jobs are the supervisor's affair, so RQ's own notions of them are switched off.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import redis
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from rq.utils import now

from backend.store.keys import instance_queue

AtWork: TypeAlias = Callable[[str], AbstractContextManager[None]]

_LONG = 30 * 24 * 3600
_DEQUEUE_SECONDS = 20
_HEARTBEAT_MARGIN = 60  # as in RQ's own heartbeat
_BEAT_EVERY = 5.0


class InstanceWorker(SimpleWorker):  # type: ignore[misc]
    """A worker for a thread: no signal handlers, no maintenance, a heartbeat that outlasts any training."""

    death_penalty_class = TimerDeathPenalty
    max_connection_wait_time = 1.0
    at_work: AtWork
    _beaten = -math.inf

    def _install_signal_handlers(self) -> None:
        """Signals belong to the instance's main thread."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a job, and write RQ's books about it."""
        with self.at_work(job.id):
            super().execute_job(job, queue)

    def run_maintenance_tasks(self) -> None:
        """Forget ended jobs that have expired. The supervisor reaps: no job is abandoned by RQ's clock."""
        for queue in self.queues:
            queue.finished_job_registry.cleanup()
            queue.failed_job_registry.cleanup()
        self.last_cleaned_at = now()

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """How long RQ's books wait for a sign of life: longer than any training, the lease is what counts."""
        return _LONG

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Write the worker's state, and in the same step an end for it.

        The instance may be gone from the books already, and this process end before the next heartbeat: a state
        written without an end would then stay in the store for ever.
        """
        with self._together(pipeline) as connection:
            super().set_state(state, connection)
            connection.expire(self.key, self.worker_ttl + _HEARTBEAT_MARGIN)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ's sign of life and its end, in one step; one just after another would only cost a query time."""
        if pipeline is None and timeout is None:
            if time.monotonic() - self._beaten < _BEAT_EVERY:
                return
            self._beaten = time.monotonic()
        with self._together(pipeline) as connection:
            super().heartbeat(timeout, connection)

    @contextmanager
    def _together(self, pipeline: Any) -> Iterator[Any]:
        if pipeline is not None:
            yield pipeline
            return
        with self.connection.pipeline() as own:
            yield own
            own.execute()

    def procline(self, message: str) -> None:
        """The process has a title of its own."""


def listen(url: str, instance: str, at_work: AtWork, *, slot: int = 0) -> InstanceWorker:
    """A worker on the queue of `instance`; `work()` blocks until it is asked to stop or the store goes away.

    An instance that takes several queries at once has a worker for each slot, in a thread of its own.
    `at_work` is entered with the id of each task that it takes, until RQ's books about it are closed.
    """
    logging.getLogger("rq").setLevel(logging.ERROR)
    logging.getLogger("rq.worker").setLevel(logging.ERROR)
    connection: Any = redis.Redis.from_url(url)
    # The books may still hold the worker of this name that lost the store before; RQ would refuse a second one.
    name = f"{instance}.{slot}" if slot else instance
    connection.delete(InstanceWorker.redis_worker_namespace_prefix + name)
    queue = Queue(instance_queue(instance), connection=connection, serializer=JSONSerializer)
    worker = InstanceWorker(
        [queue],
        name=name,
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=_DEQUEUE_SECONDS + 15,
        log_job_description=False,
    )
    worker.at_work = at_work
    return worker
