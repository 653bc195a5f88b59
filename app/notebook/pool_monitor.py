"""A pool, live: its services, instances, queue, and what was decided about them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import ipywidgets

from app.notebook import words
from app.notebook.deployment import Pool
from backend.errors import LorapoolError
from backend.views import InstanceView, ServiceView, SpentView, TaskView, VitalsView

_BUSY, _IDLE = 1.0, 4.0
_UNENDED = ("waiting", "assigned", "running")
_DECISIONS = 12
_QUEUE = 50
_GB = 1e9

_SHOWN: WeakKeyDictionary[Pool, PoolMonitor] = WeakKeyDictionary()


class PoolMonitor:
    """Shows a pool from a thread: the kernel stays free. The last one that was made for a pool is the live one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._closed = threading.Event()
        self._parts: dict[str, Any] = {
            name: ipywidgets.HTML()
            for name in ("services", "instances", "queue", "spent", "decisions", "note")
        }
        titles = {
            "services": "Services",
            "instances": "Instances",
            "queue": "Queue",
            "spent": "GPU time by user",
            "decisions": "Decisions",
        }
        children = [self._parts["note"]]
        for name, title in titles.items():
            children += [ipywidgets.HTML(words.block(f"<b>{title}</b>")), self._parts[name]]
        self.widget: Any = ipywidgets.VBox(children)
        earlier = _SHOWN.get(pool)
        if earlier is not None:
            earlier.close()
        _SHOWN[pool] = self
        self.refresh()
        threading.Thread(target=self._follow, name="pool monitor", daemon=True).start()

    def refresh(self) -> bool:
        """Ask and show; whether anything is going on."""
        client = self._pool.client
        try:
            services = client.services()
            instances = client.instances()
            tasks = client.tasks(state=_UNENDED, limit=_QUEUE)
            decisions = client.decisions(self._pool.service.name, limit=_DECISIONS)
            usage = client.service(self._pool.service.name).usage()
        except LorapoolError as error:
            self._show("note", words.say(str(error), "bad"))
            return False
        now = time.time()
        self._show("note", "")
        self._show("services", services_table(services))
        self._show("instances", instances_table(instances, {task.id: task for task in tasks}, now))
        self._show("queue", queue_table(tasks, now))
        self._show("spent", spent_table(usage.users))
        self._show("decisions", decisions_table(decisions))
        return bool(tasks) or any(each.state in ("starting", "busy", "draining") for each in instances)

    def close(self) -> None:
        """Follow it no longer; what was shown stays."""
        self._closed.set()

    @property
    def closed(self) -> bool:
        """Whether it is live no longer."""
        return self._closed.is_set()

    def text(self, part: str) -> str:
        """What a part shows: services, instances, queue or decisions, as HTML."""
        shown: str = self._parts[part].value
        return shown

    def _follow(self) -> None:
        pause = _BUSY
        while not self._closed.wait(pause):
            pause = _BUSY if self.refresh() else _IDLE

    def _show(self, part: str, html: str) -> None:
        if self._parts[part].value != html:
            self._parts[part].value = html

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


def services_table(services: Sequence[ServiceView]) -> str:
    """Each service with its counts and bounds."""
    rows = [
        (s.name, s.state, f"{s.instances} ({s.min} to {s.max})", str(s.waiting), str(s.running))
        for s in services
    ]
    head = ("service", "state", "instances", "waiting", "running")
    return words.table(head, rows, "There are no services.")


def instances_table(instances: Sequence[InstanceView], tasks: Mapping[str, TaskView], now: float) -> str:
    """Each instance with what it does."""
    rows = []
    for each in instances:
        doing = ", ".join(_name(tasks, task) for task in each.tasks)
        if not doing and each.idle_since:
            doing = f"idle for {words.duration(now - each.idle_since)}"
        rows.append(
            (
                *(each.id[:8], each.state, each.device, doing, ", ".join(each.loaded)),
                *(*_fares(each.vitals), str(each.completed)),
            )
        )
    head = ("instance", "state", "device", "does", "has loaded", "memory", "load", "done")
    return words.table(head, rows, "No instance is up; one starts with the next task.")


def _fares(vitals: VitalsView | None) -> tuple[str, str]:
    """Memory and load: of the GPU where there is one, else of the machine, and then that is said."""
    if vitals is None:
        return "", ""
    if not vitals.gpu:
        used = f"{vitals.memory_used / _GB:.1f} of {vitals.memory_total / _GB:.1f} GB (no GPU)"
        return used, f"{vitals.cpu_load:.0%} (no GPU)"
    used = f"{(vitals.gpu_memory_used or 0) / _GB:.1f} of {(vitals.gpu_memory_total or 0) / _GB:.1f} GB"
    return used, "" if vitals.gpu_load is None else f"{vitals.gpu_load:.0%}"


def spent_table(users: Sequence[SpentView]) -> str:
    """What instances were spent on: for tasks, for starts, and idle after a task."""
    rows = [
        (each.user or "nobody in particular", *(words.duration(s) for s in (each.run, each.boot, each.idle)))
        for each in users
    ]
    return words.table(("user", "tasks", "starting", "idle"), rows, "No instance has been used yet.")


def queue_table(tasks: Sequence[TaskView], now: float) -> str:
    """What runs and what waits, in the order in which it starts."""
    ordered = sorted(tasks, key=lambda task: (task.state == "waiting", task.position or 0, task.index))
    rows = [(task.name or task.kind, task.user, words.state(task, now)) for task in ordered]
    return words.table(("task", "user", "state"), rows, "Nothing waits and nothing runs.")


def decisions_table(decisions: Sequence[Mapping[str, Any]]) -> str:
    """What was decided and why, newest first."""
    rows = []
    for each in decisions:
        why = str(each.get("why", ""))
        more = each.get("why_not_more") or each.get("why_not")
        at = time.strftime("%H:%M:%S", time.localtime(float(each.get("at") or 0)))
        rows.append((at, str(each.get("decided", "")), f"{why} ({more})" if more else why))
    return words.table(("at", "decided", "why"), rows, "Nothing was decided yet.")


def _name(tasks: Mapping[str, TaskView], task_id: str) -> str:
    task = tasks.get(task_id)
    return task.name or task.kind if task else task_id[:8]
