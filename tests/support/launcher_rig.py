"""A launcher on its engine, as the tests of the contract drive it; one subclass for each launcher."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from backend.instance import Instance, InstanceState, Place
from backend.pool.launcher import CALL_DEADLINE, Exit, Launcher, Order, Progress
from backend.pool.pool import read_instances
from backend.processes import wait_until
from backend.service import Description
from backend.store import instances, services
from tests.support.store_world import World

PATIENCE = 60.0


class Timed:
    """A launcher whose every call must return, or raise, within the contract's deadline."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._launcher, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            began = time.monotonic()
            try:
                return found(*arguments)
            finally:
                took = time.monotonic() - began
                assert took < CALL_DEADLINE, f"{name} took {took:.1f} s"

        return call


class Rig(World, ABC):
    """One engine with a store; `launcher` is the present supervisor's.

    Where real instances run, they come up, leave and die by themselves; where an engine is a double, `comes_up` and
    `obeys` play what the instance would do.
    """

    can_wait = True
    """Whether a start can be made to wait, with `congested`."""

    devices: int | None = None
    """How many instances the engine has room for; None: as many as one likes."""

    def __init__(self, url: str, **description: Any) -> None:
        super().__init__(url, **description)
        self.changed = threading.Event()
        self.told: list[Exit] = []
        self.stages: dict[str, list[Progress]] = {}
        self.launcher: Any = Timed(self.make())

    @abstractmethod
    def make(self) -> Launcher:
        """A new launcher on the same engine; its `on_change` is `self.changed.set`."""

    @abstractmethod
    def traces(self) -> set[str]:
        """Ids of the instances of which the engine, or the host, still has anything."""

    @abstractmethod
    def crash(self, instance: str) -> None:
        """End an instance as by kill -9."""

    @abstractmethod
    def refused(self) -> AbstractContextManager[None]:
        """While this lasts, the engine says no to a start: at once, or in `progress`."""

    @contextmanager
    def congested(self) -> Iterator[None]:
        """While this lasts, the engine finds no place for what is ordered."""
        yield

    def comes_up(self, instance: str) -> None:
        """What an instance does when it has been started; nothing where it is a real one."""

    def obeys(self, instance: str) -> None:
        """What an instance does when it was asked to leave; nothing where it is a real one."""

    def abandon(self) -> None:
        """End the present launcher as a supervisor's kill -9 does."""
        self.launcher.close()

    # what the tests do

    def note(self, **fields: Any) -> Instance:
        """An instance that the store knows and nobody has ordered."""
        name = uuid.uuid4().hex[:12]
        given = {"slots": 1, "launcher": self.launcher.name, "host": self.launcher.host}
        given["device"] = "cpu" if self.launcher.host else ""
        created = instances.create(name, self.service, **{**given, "created_at": time.time(), **fields})
        self.store.run_all(created)
        return self.find(name)

    def order(self) -> Instance:
        """An instance that was ordered."""
        instance = self.note()
        self.launcher.tend(self.present())
        self.again(instance)
        return instance

    def again(self, instance: Instance) -> None:
        """Order an instance that the store knows."""
        self.launcher.start(Order(instance.id, self.service, instance.device, self.description))

    @property
    def description(self) -> Description:
        """The description of the service whose instances are ordered."""
        return self.store.run(services.get(self.service)).description

    def up(self) -> Instance:
        """An instance that is up."""
        instance = self.order()
        self.comes_up(instance.id)
        assert self.eventually(lambda: self.find(instance.id).ready_at is not None), self.stages
        return self.find(instance.id)

    def present(self) -> list[Instance]:
        return [each for each in read_instances(self.store) if each.service == self.service]

    def look(self) -> None:
        """What the supervisor does in each pass."""
        self.launcher.tend(self.present())
        self.told += self.launcher.exits()
        for name, at in self.launcher.progress().items():
            self.stages.setdefault(name, []).append(at)

    def eventually(self, condition: Any) -> bool:
        """Whether something becomes true while the supervisor makes its passes."""

        def holds() -> bool:
            self.look()
            return bool(condition())

        return wait_until(holds, PATIENCE, every=0.05)

    def ends_of(self, instance: str) -> list[str]:
        return [each.reason for each in self.told if each.instance == instance]

    def next_supervisor(self) -> None:
        """Another one takes over from one that has ended."""
        self.launcher = Timed(self.make())
        self.launcher.tend(self.present())

    def forget(self, instance: str) -> None:
        """The store holds an instance for gone."""
        self.store.run(instances.gone(instance, "the test says so", counted=False, max_delivery=0))

    def clean(self) -> None:
        """End all there is, as far as it can be ended."""
        for instance in self.present():
            self.forget(instance.id)
            with contextlib.suppress(Exception):
                self.launcher.kill(instance)
        assert self.eventually(lambda: not self.traces()), f"left behind: {self.traces()}"

    def close(self) -> None:
        try:
            self.clean()
        finally:
            self.launcher.close()
            super().close()


class PlayedRig(Rig):
    """Instances that are no processes: what they would say to the store, the rig says."""

    def comes_up(self, instance: str) -> None:
        self.store.run(instances.renew(instance, 60.0))
        self.store.run(instances.ready(instance, Place("somewhere", 1, 2.5)))

    def obeys(self, instance: str) -> None:
        self.store.run(instances.enter(instance, InstanceState.DRAINING, reason="told to leave"))
        self.forget(instance)
