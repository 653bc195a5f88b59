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
    "finished": "lorapool:finished",  # sorted set id -> when it ended, of all services
    "dead": "lorapool:dead:",  # + service: list of dead letters, newest first
    "plan": "lorapool:plan:",  # + service: hash task id -> JSON position and expected start
    "log": "lorapool:log:",  # + task: stream of lines, entry id = line number + 1
    "scalars": "lorapool:scalars:",  # + task: stream of progress points
    "files": "lorapool:files:",  # + task: list of JSON file records
    "instances": "lorapool:instances",  # set of ids that are not gone
    "past": "lorapool:past-instances",  # list of ids that are gone, newest first
    "instance": "lorapool:instance:",  # hash: one instance
    "held": "lorapool:held:",  # + instance: set of its tasks
    "init_log": "lorapool:init-log:",  # + instance: list of lines that its preparation printed; expires
    "lease": "lorapool:lease:",  # + instance: expires when it is not renewed
    "leader": "lorapool:leader",  # which supervisor leads; expires
    "deployment": "lorapool:deployment",  # what tells this store's instances from others' in a cluster
    "pool": "lorapool:pool:",  # + service: JSON, what the supervisor has learnt about it
    "measures": "lorapool:measures:",  # + service: hash of counters, see scripts/lib/measures.lua
    "spent": "lorapool:spent:",  # + service: hash run|boot|idle "|" user -> seconds of an instance
    "used": "lorapool:used:",  # + day since the epoch (UTC): hash user -> seconds of instances; expires
    "users": "lorapool:users",  # hash name -> JSON account
    "former": "lorapool:former-users",  # hash name -> when its account was removed
    "passwords": "lorapool:passwords",  # hash name -> what is kept of a password
    "failures": "lorapool:login-failures:",  # + name: how many of late; expires
    "token": "lorapool:token:",  # + fingerprint: whose it is; expires with it
    "tokens": "lorapool:tokens:",  # + name: hash fingerprint -> JSON token
    "token_used": "lorapool:token-used:",  # + name: hash fingerprint -> when it was last used
    "owners": "lorapool:owners",  # hash place in the data folder -> account
    "audit": "lorapool:audit",  # stream: who did what
    "journal": "lorapool:journal:",  # + service: stream of decisions
    "history": "lorapool:history:",  # + service: stream of moments: lengths of the queue, instances by state
    "queue": "lorapool:queue:",  # + queue name (`svc`, `svc/sink`): hash, settings, last index, groups
    "queue_order": "lorapool:queue-order:",  # + queue: sorted set index -> delivery order
    "queue_items": "lorapool:queue-items:",  # + queue: hash d<index> -> bytes, t<index> -> JSON tags
    "queue_tag_index": "lorapool:queue-tag-index:",  # + queue: sorted set tag, value, order (lexical)
    "queue_seen": "lorapool:queue-seen:",  # + queue: sorted set request id -> index
    "queue_wanted": "lorapool:queue-wanted:",  # + queue: set of tags that somebody waits for
    "queue_hosts": "lorapool:queue-hosts:",  # + queue: set of gateways that have consumers of it
    "queue_consumers": "lorapool:queue-consumers:",  # + queue: hash consumer part -> JSON [group, consumer]
    "queue_group": "lorapool:queue-group:",  # + group part: when it was last used
    "queue_todo": "lorapool:queue-todo:",  # + group part: sorted set of what it has not been given
    "queue_pending": "lorapool:queue-pending:",  # + group part: sorted set index -> delivered at, with max_idle
    "queue_owner": "lorapool:queue-owner:",  # + group part: hash index -> consumer
    "queue_tries": "lorapool:queue-tries:",  # + group part: hash index -> failed deliveries
    "queue_held": "lorapool:queue-held:",  # + consumer part: set of indexes delivered to it
    "queue_consumer": "lorapool:queue-consumer:",  # + consumer part: hash
    "queue_events": "lorapool:queue-events",  # pub/sub channel: a queue's waiter has something to do
    "gateway": "lorapool:gateway:",  # + gateway: expires when the process is gone
    "events": "lorapool:events",  # pub/sub channel: something changed
    "control": "lorapool:control:",  # + instance: pub/sub channel that wakes one instance
    "rq_queues": "rq:queues",
    "rq_queue": "rq:queue:",  # + service, or + instance queue name
    "rq_job": "rq:job:",
    "rq_results": "rq:results:",  # + job
    "rq_workers": "rq:workers",  # set; with ":" + queue those that listen on one
    "rq_wip": "rq:wip:",  # + queue
    "rq_finished": "rq:finished:",  # + queue
    "rq_failed": "rq:failed:",  # + queue
}


def key(kind: str, name: str = "") -> str:
    """The key of `kind` (a name in `PREFIXES`) for one service, task, instance or queue."""
    return PREFIXES[kind] + name


def instance_queue(instance: str) -> str:
    """Name of the RQ queue that one instance listens on."""
    return f"instance-{instance}"
