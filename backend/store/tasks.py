"""Calls about tasks: put, claim, finish, give back, cancel, and reading them; what they say is in `outputs.py`.

The scripts hold the transitions together with the lists that must agree with them; which instance may speak for a
task is fenced by the attempt number that its claim was given.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from backend import records
from backend.errors import Conflict, InvalidArgument, NotFound, OverLimit, QueueFull, StaleAttempt
from backend.records import Progress
from backend.store import rq_jobs
from backend.store.call import Argument, Call, command, script
from backend.store.keys import key
from backend.store.outputs import OVER, Holder, Refusal
from backend.task import Attempt, Kind, Stop, Task, TaskState

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be put; see `Task` for the fields. `id` also names the job folder: see `valid_id`."""

    id: str
    service: str
    kind: Kind
    request_id: str = ""
    data: bytes = b""
    argv: tuple[str, ...] | None = None
    environment: Mapping[str, str] | None = None
    path: str = ""
    tags: Mapping[str, str] | None = None
    priority: int = 0
    user: str = ""
    name: str = ""
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Where a put went. `created` is False when the request id was known: the item of then is meant."""

    index: int
    id: str
    created: bool


def valid_id(task_id: str) -> bool:
    """Whether a string may be a task's id."""
    return _ID.fullmatch(task_id) is not None


def put(task: NewTask, *, capacity: int = 0) -> Call[Put]:
    """Store and queue a task, once per request id. `capacity` is the most that may wait (0: no limit).

    Reading the answer raises NotFound (no such service), Conflict (the id is taken), QueueFull, or OverLimit (its
    user has as much as its account may have).
    """
    if not valid_id(task.id):
        raise InvalidArgument("id", "a task id is 1 to 100 letters, digits, '-' and '_'; nothing was queued")
    fields: dict[str, Argument] = {
        "service": task.service,
        "kind": task.kind,
        "request_id": task.request_id or task.id,
        "data": task.data,
        "argv": json.dumps(task.argv) if task.argv is not None else "",
        "environment": json.dumps(dict(task.environment or {})),
        "path": task.path,
        "tags": json.dumps(dict(task.tags or {})),
        "priority": task.priority,
        "user": task.user,
        "name": task.name,
        "details": json.dumps(dict(task.details or {})),
    }
    job = rq_jobs.fields(task.id, f"{task.kind} {task.name or task.id} for {task.service}")
    call = script(
        "put",
        task.service,
        task.id,
        task.request_id or task.id,
        capacity,
        len(fields),
        *_flat(fields),
        *_flat(job),
    )
    return call.then(lambda answer: _read_put(answer, task))


def _read_put(answer: list[Any], task: NewTask) -> Put:
    match answer[0]:
        case b"ok" | b"known":
            return Put(int(answer[1]), answer[2].decode(), answer[0] == b"ok")
        case b"missing":
            raise NotFound(f"there is no service {task.service!r}; nothing was queued")
        case b"taken":
            raise Conflict(f"the task id {task.id!r} is taken; nothing was queued")
        case b"queued":
            raise OverLimit(
                f"{task.user} has {int(answer[1])} tasks that wait, and may have {int(answer[2])}; this one was not "
                "queued. Those that wait go on; put it when some have begun."
            )
        case b"spent":
            raise OverLimit(
                f"{task.user} has used {int(answer[1])} of today's {int(answer[2])} GPU-seconds; this task was not "
                "queued. What runs goes on; the day begins anew at midnight UTC."
            )
        case _:
            raise QueueFull(
                f"the queue of {task.service} is full ({int(answer[1])} tasks wait); this one was not queued. "
                "Try again when some have run."
            )


def assign(task: str, instance: str, most: int) -> Call[str]:
    """Move a waiting task to an instance that may hold up to `most` tasks: 'ok', or why not."""
    return script("assign", task, instance, most, *_flat(rq_jobs.fields(task, f"task {task}"))).then(_text)


def claim(task: str, instance: str) -> Call[int]:
    """Start an attempt: its number, or 0 when the task is not (any more) this instance's to run."""
    return script("claim", task, instance).then(int)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a task leaves in the output queue; `tags` come on top of the task's own and its request id."""

    data: bytes
    tags: Mapping[str, str] = field(default_factory=dict)


def finish(
    holder: Holder,
    state: Literal[TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED],
    reason: str,
    *,
    exit_code: int | None = None,
    output: str = "",
    sink: str = "",
    answer: Answer | None = None,
) -> Call[Refusal | None]:
    """End the attempt and the task, with an item in the output queue `sink` (none without a name).

    The item is `answer`, or else says how the task ended. What comes back is why the sink did not take it, and then
    nothing has changed. Reading it raises StaleAttempt when the attempt is over.
    """
    code = "" if exit_code is None else exit_code
    item: list[Argument] = [] if answer is None else [answer.data, *_flat(answer.tags)]
    return script("finish", *holder.args, state.value, reason, code, output, sink, *item).then(_read_finish)


def _read_finish(answer: bytes) -> Refusal | None:
    if answer == b"stale":
        raise StaleAttempt(OVER)
    return None if answer == b"ok" else cast(Refusal, answer.decode())


def give_back(holder: Holder, reason: str, *, counted: bool, max_delivery: int) -> Call[TaskState]:
    """Hand a running task back: to the head of its queue, or to the dead letters when its deliveries are used up."""

    def read(answer: bytes) -> TaskState:
        if answer == b"stale":
            raise StaleAttempt(OVER)
        return TaskState(answer.decode())

    return script("give_back", *holder.args, reason, int(counted), max_delivery).then(read)


def unclaimed(task: str, seconds: float) -> Call[str]:
    """Take back a task that was assigned `seconds` ago and never begun; 'kept' when it is not so."""
    return script("unclaimed", task, seconds).then(_text)


def expire(keep: float, most: int = 100, *, kept: int = 0) -> Call[int]:
    """Forget up to `most` of the tasks that have ended, the oldest first; how many there were.

    Those are that ended more than `keep` seconds ago, and those beyond the newest `kept`; 0 is no limit.
    """
    return script("expire", keep, most, kept).then(int)


def delete(task: str) -> Call[bool]:
    """Forget one task that has ended, now; False when it was unknown. Reading raises Conflict for any other."""

    def read(answer: bytes | None) -> bool:
        if answer is not None and answer != b"deleted":
            raise Conflict(not_ended(task, answer.decode()))
        return answer is not None

    return script("delete", task).then(read)


def not_ended(task: str, state: str) -> str:
    """Why a task in this state is not deleted, and what to do."""
    return (
        f"task {task} is {state}: only a job that has ended can be deleted. Nothing was deleted; stop it first, "
        "then delete it."
    )


def _missing(task: str) -> str:
    return f"there is no task {task!r}: there never was, or it has been deleted"


def ended(seconds: float) -> Call[list[str]]:
    """Ids of the tasks of all services that have ended within so many seconds, the first that did first."""
    return command("ZRANGEBYSCORE", key("finished"), time.time() - seconds, "+inf").then(_texts)


def cancel(task: str, how: Stop = "stop", *, by: str = "") -> Call[TaskState]:
    """Ask a task to end. The state after this; a running one ends a little later. Reading raises NotFound."""

    def read(answer: bytes | None) -> TaskState:
        if answer is None:
            raise NotFound(_missing(task))
        return TaskState(answer.decode())

    return script("cancel", task, how, by).then(read)


def get(task: str) -> Call[Task]:
    """One task, whole. Reading raises NotFound."""

    def read(answer: Any) -> Task:
        if not answer:
            raise NotFound(_missing(task))
        return _task(task, _hash(answer))

    return command("HGETALL", key("task", task)).then(read)


def maybe(task: str) -> Call[Task | None]:
    """One task, or None."""
    return command("HGETALL", key("task", task)).then(
        lambda answer: _task(task, _hash(answer)) if answer else None
    )


def by_request(service: str, request_id: str) -> Call[str | None]:
    """The id of the task that a request id stands for."""
    return command("HGET", key("requests", service), request_id).then(_maybe_text)


def by_index(service: str, index: int) -> Call[str | None]:
    """The id of the task at an index of the input queue."""
    return command("ZRANGEBYSCORE", key("tasks", service), index, index).then(
        lambda answer: answer[0].decode() if answer else None
    )


def waiting(service: str) -> Call[list[str]]:
    """Ids of the waiting tasks, in the order of the RQ queue."""
    return command("LRANGE", key("rq_queue", service), 0, -1).then(_texts)


def waiting_count(service: str) -> Call[int]:
    """How many tasks wait."""
    return command("LLEN", key("rq_queue", service)).then(int)


def active(service: str) -> Call[list[str]]:
    """Ids of the tasks that are assigned or running."""
    return command("SMEMBERS", key("active", service)).then(_texts)


def newest(service: str, *, before: int | None = None, limit: int = 50) -> Call[list[str]]:
    """Ids of a service's tasks, newest first, those with an index below `before`."""
    top: Argument = "+inf" if before is None else f"({before}"
    return command("ZREVRANGEBYSCORE", key("tasks", service), top, "-inf", "LIMIT", 0, limit).then(_texts)


def dead(service: str) -> Call[list[str]]:
    """Ids of the dead letters, newest first."""
    return command("LRANGE", key("dead", service), 0, -1).then(_texts)


def dead_count(service: str) -> Call[int]:
    """How many dead letters there are."""
    return command("LLEN", key("dead", service)).then(int)


def _flat(fields: Mapping[str, Any]) -> list[Argument]:
    return [part for pair in fields.items() for part in pair]


def _text(answer: bytes) -> str:
    return answer.decode()


def _maybe_text(answer: bytes | None) -> str | None:
    return answer.decode() if answer is not None else None


def _texts(answer: Iterable[bytes]) -> list[str]:
    return [item.decode() for item in answer]


def _hash(answer: Any) -> dict[str, bytes]:
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return {name.decode(): value for name, value in pairs}


def _task(task_id: str, fields: dict[str, bytes]) -> Task:
    text = {name: value.decode("utf-8", "replace") for name, value in fields.items() if name != "data"}
    progress = records.decode(text["progress"]) if text.get("progress") else None
    argv = json.loads(text["argv"]) if text.get("argv") else None
    return Task(
        id=task_id,
        service=text["service"],
        index=int(text["index"]),
        request_id=text.get("request_id", task_id),
        kind=cast(Kind, text["kind"]),
        state=TaskState(text["state"]),
        created_at=float(text["created_at"]),
        priority=int(text.get("priority") or 0),
        user=text.get("user", ""),
        name=text.get("name", ""),
        tags=json.loads(text.get("tags") or "{}"),
        data=fields.get("data", b""),
        argv=tuple(argv) if argv is not None else None,
        environment=json.loads(text.get("environment") or "{}"),
        path=text.get("path", ""),
        attempt=int(text.get("attempt") or 0),
        deliveries=int(text.get("deliveries") or 0),
        instance=text.get("instance", ""),
        assigned_at=_time(text.get("assigned_at")),
        started_at=_time(text.get("started_at")),
        finished_at=_time(text.get("finished_at")),
        reason=text.get("reason", ""),
        failure=text.get("failure", ""),
        exit_code=int(text["exit_code"]) if text.get("exit_code") else None,
        cancel=cast(Stop, text["cancel"]) if text.get("cancel") else None,
        phase=text.get("phase", ""),
        progress=progress if isinstance(progress, Progress) else None,
        output=text.get("output", ""),
        attempts=tuple(Attempt(**attempt) for attempt in json.loads(text.get("attempts") or "[]")),
        log_lines=int(text.get("log_lines") or 0),
        details=json.loads(text.get("details") or "{}"),
    )


def _time(text: str | None) -> float | None:
    return float(text) if text else None
