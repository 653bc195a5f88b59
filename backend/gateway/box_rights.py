"""What a box may do with files of the data folder: what the attempts of tasks that its instances hold need, no more.

A request names its attempt. The task's current one, on that very instance, may read what the task names and write
where the task writes. One that another has overtaken may still bring files that are not there yet, so that nothing a
lost box has made is lost, and neither read nor replace anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import paths
from backend.errors import Forbidden, InvalidInput, LorapoolError, NotFound, PathOutsideDataFolder
from backend.gateway.box_needs import Scope, is_open, scope_of
from backend.gateway.context import Gateway
from backend.storage.gateway import ATTEMPT, INSTANCE, OVERTAKEN, TASK, Ticket
from backend.store import tasks
from backend.task import Task

_REMEMBERED = 256
_TRUSTED = 1.0
"""Seconds for which it is not asked again whether an attempt is the current one, where nothing is replaced."""


class Overtaken(LorapoolError):
    """The task has been given to another attempt, or is no more."""

    status = OVERTAKEN


@dataclass(frozen=True, slots=True)
class Permit:
    """What one attempt may do. `current`: no other one has overtaken it."""

    task: Task
    scope: Scope
    current: bool
    root: Path

    def to_read(self, path: str) -> Path:
        """The file or folder at a path of the data folder; raises Forbidden when it is not this one's to read."""
        if not self.current or self.task.final:
            raise Overtaken(
                f"attempt {self.task.attempt} of task {self.task.id} is over or another has it now"
            )
        file = self._inside(path)
        if not self.scope.may_read(path):
            raise Forbidden(f"{path[:200]!r} is nothing that task {self.task.id} needs; nothing was read")
        return file

    def to_write(self, path: str) -> Path:
        """The same for writing it; raises Overtaken when that would replace what another attempt has written."""
        file = self.own(path)
        if file.exists() and not (self.current and self.scope.may_write(path, exists=True)):
            raise Overtaken(
                f"{path} is there already, and is not this attempt's to replace; it was left as it is"
            )
        return file

    def own(self, path: str) -> Path:
        """A file where the task writes; raises Forbidden for any other."""
        file = self._inside(path)
        real = file.relative_to(self.root).as_posix()
        if not all(self.scope.may_write(each, exists=False) for each in (path, real)):
            raise Forbidden(
                f"{path[:200]!r} is no place where task {self.task.id} writes; nothing was written"
            )
        return file

    def _inside(self, path: str) -> Path:
        try:
            real = paths.confined(self.root, path)
        except PathOutsideDataFolder:
            raise Forbidden(f"{path[:200]!r} lies outside the data folder; nothing was touched") from None
        if not is_open(path) or not is_open(real.relative_to(self.root).as_posix()):
            raise Forbidden(f"{path[:200]!r} is the deployment's own; nothing was touched")
        return real


class Permits:
    """Those of one gateway. What a task may use does not change while it lasts, and is worked out once."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._root = gateway.settings.data_dir.resolve()
        self._scopes: OrderedDict[Ticket, Scope] = OrderedDict()
        self._seen: OrderedDict[Ticket, tuple[float, Permit]] = OrderedDict()

    async def of(self, headers: Mapping[str, str], *, fresh: bool) -> Permit:
        """The permit of a request. `fresh`: the store is asked now whether its attempt is the current one.

        Raises:
            InvalidInput: the request does not say what it is for.
            Forbidden: that instance has never had that attempt.
            Overtaken: the task is no more.
        """
        ticket = _ticket(headers)
        known = self._seen.get(ticket)
        if known is not None and not fresh and time.monotonic() - known[0] < _TRUSTED:
            return known[1]
        try:
            task = await self._gateway.store.run(tasks.get(ticket.task))
        except NotFound:
            raise Overtaken(f"there is no task {ticket.task!r} any more; nothing was changed") from None
        if not any(
            (each.number, each.instance) == (ticket.attempt, ticket.instance) for each in task.attempts
        ):
            raise Forbidden("this instance does not hold that attempt of the task; nothing was touched")
        permit = Permit(task, await self._scope(ticket, task), task.attempt == ticket.attempt, self._root)
        _keep(self._seen, ticket, (time.monotonic(), permit))
        return permit

    async def _scope(self, ticket: Ticket, task: Task) -> Scope:
        known = self._scopes.get(ticket)
        if known is None:
            deployed = await self._gateway.catalog.get(task.service)
            known = await asyncio.to_thread(scope_of, task, deployed.description, self._root)
            _keep(self._scopes, ticket, known)
        return known


def _ticket(headers: Mapping[str, str]) -> Ticket:
    attempt = headers.get(ATTEMPT, "")
    if not headers.get(TASK) or not headers.get(INSTANCE) or not attempt.isdecimal() or len(attempt) > 9:
        raise InvalidInput(f"{TASK}, {ATTEMPT} and {INSTANCE} say what files are asked for; one is missing")
    return Ticket(headers[TASK], int(attempt), headers[INSTANCE])


def _keep(table: OrderedDict[Ticket, Any], ticket: Ticket, value: Any) -> None:
    table[ticket] = value
    table.move_to_end(ticket)
    while len(table) > _REMEMBERED:
        table.popitem(last=False)
