"""A real store with a service and instances in it, which do what a test says; no supervisor, no processes."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import redis

from backend.deploy import deploy
from backend.instance import Instance, InstanceState, Place
from backend.service import parse
from backend.store import instances, outputs, tasks
from backend.store.call import command
from backend.store.connection import Store
from backend.store.keys import instance_queue, key
from backend.store.outputs import Holder
from backend.store.tasks import NewTask
from backend.task import Task, TaskState

_NUMBERS = itertools.count(1)
LEASE = 60.0


class World:
    """Services and instances get names that no other test uses."""

    def __init__(self, url: str, **description: Any) -> None:
        self.store = Store(url)
        self.service = f"svc{next(_NUMBERS)}"
        self.describe(**description)

    @property
    def sink(self) -> str:
        return f"{self.service}/sink"

    def describe(self, **description: Any) -> None:
        raw = {"metadata": {"name": self.service, "type": "ScalableJob"}, **description}
        deploy(self.store, parse(raw).description)

    def put(self, task: str = "", **fields: Any) -> str:
        """A waiting task; its id."""
        task = task or f"task{next(_NUMBERS)}"
        fields = {"kind": "command", "data": b"true", **fields}
        self.store.run(tasks.put(NewTask(id=task, service=self.service, **fields)))
        return task

    def instance(self, *, lease: float = LEASE, ready: bool = True, slots: int = 1, **fields: Any) -> str:
        """An instance, idle unless it is not to be ready yet; its id."""
        name = f"inst{next(_NUMBERS)}"
        fields = {"launcher": "local", "host": "here", "device": "cpu", "created_at": time.time(), **fields}
        self.store.run_all(instances.create(name, self.service, slots=slots, **fields))
        if lease:
            self.store.run(instances.renew(name, lease))
        if ready:
            self.store.run(instances.ready(name, Place(str(fields["host"]), 1, 2.5)))
        return name

    def assigned(self, instance: str, task: str = "", *, most: int = 1, **fields: Any) -> str:
        """A task that was assigned to an instance; its id."""
        task = task or self.put(**fields)
        assert self.store.run(tasks.assign(task, instance, most)) == "ok"
        return task

    def running(self, instance: str, task: str = "", *, most: int = 1, **fields: Any) -> Holder:
        """A task that an instance runs: who may speak for it."""
        task = self.assigned(instance, task, most=most, **fields)
        return self.claimed(instance, task)

    def claimed(self, instance: str, task: str) -> Holder:
        attempt = self.store.run(tasks.claim(task, instance))
        assert attempt
        return Holder(task, attempt, instance)

    def task(self, task: str) -> Task:
        return self.store.run(tasks.get(task))

    def state(self, task: str) -> TaskState:
        return self.task(task).state

    def find(self, instance: str) -> Instance:
        found = instances.assemble(instance, self.store.run_all(instances.details(instance)))
        assert found is not None
        return found

    def settled(self, instance: str) -> Instance:
        """An instance without the time that its lease has left, to be compared."""
        return replace(self.find(instance), lease_left=0.0)

    def instance_state(self, instance: str) -> InstanceState:
        return self.find(instance).state

    def waiting(self) -> list[str]:
        """The service's RQ queue."""
        return self.store.run(tasks.waiting(self.service))

    def handed(self, instance: str) -> list[str]:
        """The instance's RQ queue."""
        found = self.store.run(command("LRANGE", key("rq_queue", instance_queue(instance)), 0, -1))
        return [item.decode() for item in found]

    def log(self, task: str) -> list[str]:
        return [text for _, text in self.store.run(outputs.log(task))]

    def ask(self, *words: str | int | float) -> Any:
        """A plain command to the server."""
        return self.store.run(command(*words))

    def keys(self, pattern: str) -> list[str]:
        return sorted(name.decode() for name in self.store.redis.scan_iter(pattern, count=1000))

    def expire_lease(self, instance: str) -> None:
        self.ask("DEL", key("lease", instance))

    def rq(self) -> redis.Redis:
        """A client as RQ wants it."""
        return redis.Redis.from_url(self.store.url)

    def close(self) -> None:
        self.store.close()
