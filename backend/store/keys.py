"""Every key name. Lua scripts get the same table (`P` in each of them), so that no name stands twice.

RQ's own keys (`rq:…`) keep RQ's names, so that RQ's tools see our queues, jobs and workers.
"""

from __future__ import annotations

PREFIXES: dict[str, str] = {
    "services": "lorapool:services",  # set of names
    "service": "lorapool:service:",  # hash: one deployed description
    "task": "lorapool:task:",  # hash: one task
    "tasks": "lorapool:tasks:",  # + service: sorted set id -> index, every task that is kept
    "requests": "lorapool:requests:",  # + service: hash request id -> task id
    "active": "lorapool:active:",  # + service: set of tasks that are assigned or running
    "dead": "lorapool:dead:",  # + service: list of dead letters, newest first
    "plan": "lorapool:plan:",  # + service: hash task id -> JSON position and expected start
    "log": "lorapool:log:",  # + task: stream of lines, entry id = line number + 1
    "scalars": "lorapool:scalars:",  # + task: stream of progress points
    "files": "lorapool:files:",  # + task: list of JSON file records
    "instances": "lorapool:instances",  # set of ids that are not gone
    "past": "lorapool:past-instances",  # list of ids that are gone, newest first
    "instance": "lorapool:instance:",  # hash: one instance
    "held": "lorapool:held:",  # + instance: set of its tasks
    "lease": "lorapool:lease:",  # + instance: expires when it is not renewed
    "leader": "lorapool:leader",  # which supervisor leads; expires
    "journal": "lorapool:journal:",  # + service: stream of decisions
    "queue": "lorapool:queue:",  # + queue name (`svc`, `svc/sink`): see streams.py
    "events": "lorapool:events",  # pub/sub channel: something changed
    "rq_queues": "rq:queues",
    "rq_queue": "rq:queue:",  # + service, or + instance queue name
    "rq_job": "rq:job:",
}


def key(kind: str, name: str = "") -> str:
    """The key of `kind` (a name in `PREFIXES`) for one service, task, instance or queue."""
    return PREFIXES[kind] + name


def instance_queue(instance: str) -> str:
    """Name of the RQ queue that one instance listens on."""
    return f"instance-{instance}"
