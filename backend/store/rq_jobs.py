"""The RQ job that carries a task: what RQ's workers and tools see of it.

The serializer is JSON, the job's only argument the task's id: whoever can write to the store cannot make a worker
unpickle anything.
"""

from __future__ import annotations

import redis
from rq.job import Job
from rq.serializers import JSONSerializer

ENTRY_POINT = "backend.worker.jobs.run_task"
RESULT_TTL = 24 * 3600
FAILURE_TTL = 7 * 24 * 3600


# A job insists on a connection, even one that is only written down; this one is never opened.
_NOWHERE = redis.Redis()


def fields(task_id: str, description: str) -> dict[str, str | bytes]:
    """The hash of a new job, without the fields that the moving of it sets (origin, status)."""
    job = Job.create(
        ENTRY_POINT,
        args=[task_id],
        id=task_id,
        connection=_NOWHERE,
        description=description,
        timeout=-1,
        result_ttl=RESULT_TTL,
        failure_ttl=FAILURE_TTL,
        serializer=JSONSerializer,
    )
    return {name: value for name, value in job.to_dict().items() if name not in ("origin", "status")}
