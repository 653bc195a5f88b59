"""What an API server keeps, as the API conventions describe it. Safe to use from several threads."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str, str]  # resource, namespace, name

FINAL = ("Succeeded", "Failed")


class Answer(Exception):
    """An error as the API gives it: a Status object."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
            **({"details": details} if details else {}),
        }


@dataclass(frozen=True)
class Event:
    """A change: the object as it was after it."""

    version: int
    resource: str
    kind: str
    object: Json


def stamp(seconds: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Objects:
    """`history`: so many changes are remembered; a watch from before them is told 410."""

    def __init__(self, history: int = 1000) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 1000
        self.history = history
        self.items: dict[Key, Json] = {}
        self.events: list[Event] = []
        self.forgotten = 1000
        self.checks: list[Callable[[str, Json, Json | None], None]] = []

    def get(self, resource: str, namespace: str, name: str) -> Json:
        with self.changed:
            found = self.items.get((resource, namespace, name))
            if found is None:
                raise Answer(
                    404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource}
                )
            return copy.deepcopy(found)

    def list(self, resource: str, namespace: str) -> list[Json]:
        with self.changed:
            found = [o for (r, n, _), o in sorted(self.items.items()) if (r, n) == (resource, namespace)]
            return copy.deepcopy(found)

    def create(self, resource: str, namespace: str, given: Json) -> Json:
        made = copy.deepcopy(given)
        metadata = made["metadata"]
        key = (resource, namespace, metadata["name"])
        with self.changed:
            if metadata.get("resourceVersion"):
                raise Answer(400, "BadRequest", "resourceVersion should not be set on objects to be created")
            if key in self.items:
                leaving = "deletionTimestamp" in self.items[key]["metadata"]
                what = f'{resource} "{metadata["name"]}" already exists'
                raise Answer(409, "AlreadyExists", f"object is being deleted: {what}" if leaving else what)
            for check in self.checks:
                check(resource, made, None)
            metadata |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": stamp()}
            self._store(key, "ADDED", made)
            return copy.deepcopy(made)

    def update(
        self,
        resource: str,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        *,
        status: bool = False,
    ) -> Json:
        """Replace an object by what `change` makes of it; `status`: as kubelets do, by the sub-resource."""
        key = (resource, namespace, name)
        with self.changed:
            old = self.get(resource, namespace, name)
            new = change(copy.deepcopy(old))
            wanted = new["metadata"].get("resourceVersion")
            if wanted and wanted != old["metadata"]["resourceVersion"]:
                raise Answer(
                    409,
                    "Conflict",
                    f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified; please '
                    "apply your changes to the latest version and try again",
                )
            if not status:
                new["status"] = old.get("status", {})
                for check in self.checks:
                    check(resource, new, old)
            for kept in ("uid", "creationTimestamp", "deletionTimestamp", "namespace", "name"):
                if kept in old["metadata"]:
                    new["metadata"][kept] = old["metadata"][kept]
            if new == old:
                return old
            if "deletionTimestamp" in new["metadata"] and self._may_go(new):
                self._remove(key, new)
            else:
                self._store(key, "MODIFIED", new)
            return copy.deepcopy(new)

    def delete(self, resource: str, namespace: str, name: str, options: Json) -> Json:
        """Graceful for pods that run; held by finalizers; what the object owned goes after it."""
        key = (resource, namespace, name)
        with self.changed:
            found = self.get(resource, namespace, name)
            for field, value in options.get("preconditions", {}).items():
                if found["metadata"].get(field) != value:
                    raise Answer(
                        409,
                        "Conflict",
                        f'Operation cannot be fulfilled on {resource} "{name}": Precondition failed: {field} in '
                        f"precondition: {value}, {field} in object meta: {found['metadata'].get(field)}",
                    )
            grace = self._grace(resource, found, options.get("gracePeriodSeconds"))
            before = found["metadata"].get("deletionGracePeriodSeconds")
            if before is not None and grace >= before and grace:
                return found
            found["metadata"]["deletionTimestamp"] = stamp(grace)
            found["metadata"]["deletionGracePeriodSeconds"] = grace
            if self._may_go(found):
                self._remove(key, found)
            else:
                self._store(key, "MODIFIED", found)
            return copy.deepcopy(found)

    def _grace(self, resource: str, found: Json, wanted: int | None) -> int:
        if resource != "pods":
            return 0
        spec = found["spec"]
        if not spec.get("nodeName") or found.get("status", {}).get("phase") in FINAL:
            return 0
        grace = spec.get("terminationGracePeriodSeconds", 30) if wanted is None else wanted
        return max(int(grace), 1) if int(grace) < 0 else int(grace)

    def _may_go(self, found: Json) -> bool:
        metadata = found["metadata"]
        return not metadata.get("finalizers") and metadata.get("deletionGracePeriodSeconds", 0) == 0

    def _remove(self, key: Key, last: Json) -> None:
        del self.items[key]
        self._log(key[0], "DELETED", last)
        uid = last["metadata"]["uid"]
        for (resource, namespace, name), each in list(self.items.items()):
            owners = each["metadata"].get("ownerReferences", [])
            if any(owner["uid"] == uid for owner in owners) and not self._has_an_owner(owners, namespace):
                self.delete(resource, namespace, name, {})

    def _has_an_owner(self, owners: list[Json], namespace: str) -> bool:
        uids = {o["metadata"]["uid"] for (_, n, _), o in self.items.items() if n == namespace}
        return any(owner["uid"] in uids for owner in owners)

    def collect(self) -> None:
        """What the garbage collector does now and then: objects whose owners were never there go."""
        with self.changed:
            for (resource, namespace, name), each in list(self.items.items()):
                owners = each["metadata"].get("ownerReferences", [])
                leaving = "deletionTimestamp" in each["metadata"]
                if owners and not leaving and not self._has_an_owner(owners, namespace):
                    self.delete(resource, namespace, name, {})

    def _store(self, key: Key, kind: str, new: Json) -> None:
        self.items[key] = new
        self._log(key[0], kind, new)

    def _log(self, resource: str, kind: str, new: Json) -> None:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        self.events.append(Event(self.version, resource, kind, copy.deepcopy(new)))
        while len(self.events) > self.history:
            self.forgotten = self.events.pop(0).version
        self.changed.notify_all()

    def compact(self) -> None:
        """Forget all that was: watches that come back are told 410."""
        with self.changed:
            self.version += 1
            self.events.clear()
            self.forgotten = self.version
            self.changed.notify_all()

    def since(self, version: int, resource: str, deadline: float) -> Iterator[Event | None]:
        """Changes after `version` as they come, None now and then; ends at the deadline, or with 410."""
        while True:
            with self.changed:
                if version < self.forgotten:
                    raise Answer(410, "Expired", f"too old resource version: {version} ({self.forgotten})")
                new = [event for event in self.events if event.version > version]
                if not new:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return
                    self.changed.wait(min(left, 0.2))
            version = new[-1].version if new else version
            yield from (event for event in new if event.resource == resource)
            yield None
