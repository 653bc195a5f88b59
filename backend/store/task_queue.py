"""Calls about the waiting tasks of a service as a queue: pages, positions."""

from __future__ import annotations

from backend.store.call import Call, command
from backend.store.keys import key


def page(service: str, start: int, count: int) -> Call[list[str]]:
    """Ids of `count` waiting tasks from place `start` (0 is the head) on."""
    call = command("LRANGE", key("rq_queue", service), start, start + count - 1)
    return call.then(lambda answer: [item.decode() for item in answer])


def place(service: str, task: str) -> Call[int | None]:
    """How many tasks stand before this one; None when it does not wait. Quick for one that was put lately."""
    return command("LPOS", key("rq_queue", service), task, "RANK", -1).then(
        lambda answer: None if answer is None else int(answer)
    )


def active_count(service: str) -> Call[int]:
    """How many tasks are assigned or running."""
    return command("SCARD", key("active", service)).then(int)


def last_index(service: str) -> Call[int]:
    """The last index that was given to a task, 0 when none was."""
    return command("HGET", key("service", service), "last_index").then(lambda answer: int(answer or 0))


def set_priority(task: str, priority: int) -> Call[None]:
    """Set the priority of a task that exists; dispatch looks at it the next time it chooses."""
    return command("HSET", key("task", task), "priority", priority).then(lambda _: None)


def ended(service: str) -> Call[bool]:
    """Whether the input queue takes no more tasks."""
    return command("HGET", key("queue", service), "ended").then(lambda answer: answer == b"1")


def end(service: str, *, ended: bool) -> Call[None]:
    """Take no more tasks, or take them again; those that wait still run."""
    return command("HSET", key("queue", service), "ended", int(ended)).then(lambda _: None)
