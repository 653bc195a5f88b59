"""The input queue of a service whose instances we run: its items are the tasks that wait.

Outside clients put, look, and cancel; only instances take tasks to run them, so there is no watching here.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

from backend.errors import Conflict, InvalidArgument, TooLarge
from backend.queue import attributes
from backend.queue.contract import REQUEST_ID, NewItem, Query, Stored
from backend.queue.patience import certainly, patiently
from backend.service import Description
from backend.store import instances, plans, task_queue, tasks
from backend.store.call import Call
from backend.store.connection import AsyncStore
from backend.store.consumers import ConsumerView, GroupView, QueueView
from backend.store.streams import Found, Item
from backend.store.tasks import NewTask
from backend.task import KINDS, Kind, Task, TaskState

T = TypeVar("T")

TASK_TYPE = "taskType"
_PAGE = 200


def kind_of(tags: Mapping[str, str]) -> Kind:
    """What the tag `taskType` says; raises InvalidArgument when it is missing or unknown."""
    given = tags.get(TASK_TYPE)
    for kind in KINDS:
        if given == kind:
            return kind
    said = "is missing" if given is None else f"is {given!r}"
    raise InvalidArgument(
        TASK_TYPE,
        f"{said}; say command (a shell command to run) or query (a request to the app). Not queued.",
    )


def _details(item: NewItem) -> dict[str, object] | None:
    """What else is known of a put: the type of its payload, and the models that it needs."""
    known: dict[str, object] = {"content_type": item.content_type, "models": list(item.models)}
    return {name: value for name, value in known.items() if value} or None


class TaskQueue:
    """See `contract.Queue`. `topic_of` names the hub topic that changes of the service's tasks are told on."""

    def __init__(self, store: AsyncStore, service: Description, topic_of: Callable[[str], str]) -> None:
        self.name = service.name
        self._store = store
        self._service = service
        self._topic_of = topic_of

    async def put(self, item: NewItem) -> Stored:
        kind = kind_of(item.tags)
        limits = self._service.queue.source
        if len(item.data) > limits.max_payload_size_kb * 1024:
            raise TooLarge(
                f"this task has {len(item.data)} bytes, the queue of {self.name} takes at most "
                f"{limits.max_payload_size_kb * 1024}. Not queued; send a file's path instead, or raise "
                "queue.source.max_payload_size_kb."
            )
        if await self._run(task_queue.ended(self.name)):
            raise Conflict(f"the queue of {self.name} was ended and takes no more tasks. Not queued.")
        new = NewTask(
            id=item.task_id,
            service=self.name,
            kind=kind,
            request_id=item.request_id,
            data=item.data,
            path=item.path,
            tags=item.tags,
            priority=item.priority,
            user=item.tags.get("user", ""),
            name=item.tags.get("name", ""),
            details=_details(item),
        )
        put = await certainly(self._store, tasks.put(new, capacity=self._capacity()))
        return Stored(put.index, item.request_id)

    def _capacity(self) -> int:
        """The most that may wait: `rpc.max_queue_size` where it was written down, and the queue's own capacity."""
        limits = [self._service.queue.source.capacity]
        if "max_queue_size" in self._service.rpc.model_fields_set:
            limits.append(self._service.rpc.max_queue_size)
        return min((limit for limit in limits if limit), default=0)

    async def get(self, query: Query, *, all_or_none: bool) -> list[Item]:
        found = [task async for task in self._matching(query)]
        if all_or_none and len(found) < query.length:
            return []
        if query.take:
            found = [task for task in found if await self._take(task)]
        return [as_item(task) for task in found]

    async def _matching(self, query: Query) -> AsyncIterator[Task]:
        """Waiting tasks in the order of the queue; the newest alone for index -1."""
        if query.first < 0:
            newest: Task | None = None
            async for task in self._waiting(query.tags):
                if newest is None or task.index > newest.index:
                    newest = task
            if newest is not None:
                yield newest
            return
        count = 0
        async for task in self._waiting(query.tags):
            if task.index >= query.first and count < query.length:
                count += 1
                yield task
            if count == query.length:
                return

    async def _waiting(self, tags: Mapping[str, str]) -> AsyncIterator[Task]:
        if REQUEST_ID in tags:
            known = await self._run(tasks.by_request(self.name, tags[REQUEST_ID]))
            async for task in self._load([known] if known else []):
                if _fits(task, tags):
                    yield task
            return
        start = 0
        while page := await self._run(task_queue.page(self.name, start, _PAGE)):
            async for task in self._load(page):
                if _fits(task, tags):
                    yield task
            start += _PAGE

    async def _load(self, ids: Sequence[str]) -> AsyncIterator[Task]:
        for task in await self._store.run_all([tasks.maybe(task_id) for task_id in ids]):
            if task is not None and task.state is TaskState.WAITING:
                yield task

    async def _take(self, task: Task) -> bool:
        """Take a task out of the queue for a reader; False when an instance was faster."""
        state = await self._run(tasks.cancel(task.id, by="a reader of the queue"))
        return state is TaskState.CANCELLED

    def topic(self, tags: Mapping[str, str]) -> str:
        return self._topic_of(self.name)

    async def count(self, tags: Mapping[str, str], priority: int | None) -> int:
        if not tags and priority is None:
            return await self._run(tasks.waiting_count(self.name))
        waiting = [task async for task in self._waiting(tags)]
        return sum(priority is None or (task.priority > 0) == (priority > 0) for task in waiting)

    async def search(self, group: str, index: int) -> Found | None:
        task_id = await self._run(tasks.by_index(self.name, index))
        task = await self._run(tasks.maybe(task_id)) if task_id else None
        if task is None or task.final:
            return None
        if task.state is not TaskState.WAITING:
            return Found(pending=True, consumer=f"{self.name}.{task.instance}", ahead=0)
        (plan,) = await self._run(plans.of(self.name, [task.id]))
        if plan is not None:
            return Found(pending=False, consumer="", ahead=max(0, plan.position - 1))
        place = await self._run(task_queue.place(self.name, task.id))
        return Found(pending=False, consumer="", ahead=place or 0)

    async def attributes(self) -> dict[str, str]:
        waiting = await self._run(tasks.waiting_count(self.name))
        active = await self._run(task_queue.active_count(self.name))
        head = await self._store.run_all(
            [tasks.maybe(task_id) for task_id in await self._run(task_queue.page(self.name, 0, 1))]
        )
        view = QueueView(
            length=waiting + active,
            first=head[0].index if head and head[0] else 0,
            last=await self._run(task_queue.last_index(self.name)),
            ended=await self._run(task_queue.ended(self.name)),
            capacity=self._capacity(),
            max_payload=self._service.queue.source.max_payload_size_kb * 1024,
            groups=[GroupView(self.name, waiting, active)],
            consumers=await self._consumers(),
        )
        return attributes.as_text(self.name, view)

    async def _consumers(self) -> list[ConsumerView]:
        """The instances of the service, as the consumers that they are."""
        found = []
        for instance in await self._run(instances.ids()):
            answers = await self._store.run_all(instances.details(instance))
            view = instances.assemble(instance, answers)
            if view is None or view.service != self.name:
                continue
            pending = len(view.tasks)
            found.append(
                ConsumerView(
                    group=self.name,
                    name=view.id,
                    status="Running",
                    index=0,
                    pending=pending,
                    idle=0.0,
                    window=view.slots,
                    slots=max(0, view.slots - pending),
                    auto_commit=False,
                    tags={},
                )
            )
        return found

    async def commit(self, group: str, indexes: Sequence[int]) -> None:
        for task in await self._by_index(indexes):
            if not task.final:
                raise Conflict(_NOT_YOURS.format(index=task.index, state=task.state))

    async def negative(
        self, group: str, indexes: Sequence[int], *, counted: bool, code: str, reason: str
    ) -> None:
        await self.commit(group, indexes)

    async def delete(self, indexes: Sequence[int]) -> None:
        for task in await self._by_index(indexes):
            await self._run(tasks.cancel(task.id, by="a delete"))

    async def truncate(self, index: int) -> None:
        below = [task async for task in self._waiting({}) if task.index < index]
        for task in below:
            await self._run(tasks.cancel(task.id, by="a truncate"))

    async def end(self, *, ended: bool, force: bool) -> None:
        await self._run(task_queue.end(self.name, ended=ended))
        if force:
            await self.truncate(await self._run(task_queue.last_index(self.name)) + 1)

    async def _by_index(self, indexes: Sequence[int]) -> list[Task]:
        found = []
        for index in indexes:
            task_id = await self._run(tasks.by_index(self.name, index))
            task = await self._run(tasks.maybe(task_id)) if task_id else None
            if task is not None:
                found.append(task)
        return found

    async def _run(self, call: Call[T]) -> T:
        return await patiently(self._store, call)


_NOT_YOURS = (
    "task {index} is {state}: the tasks of this queue are committed by the instances that run them. "
    "Nothing was changed; delete it to cancel it."
)


def _fits(task: Task, tags: Mapping[str, str]) -> bool:
    own = {**task.tags, REQUEST_ID: task.request_id}
    return all(own.get(name) == value for name, value in tags.items())


def as_item(task: Task) -> Item:
    """A task as an item: a command line given as arguments is shown as the shell line it stands for."""
    data = task.data if task.argv is None else shlex.join(task.argv).encode()
    return Item(task.index, {**task.tags, REQUEST_ID: task.request_id}, data)
