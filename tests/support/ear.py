"""What was announced in a store since one last asked, with nothing left out: for whoever makes passes by hand."""

from __future__ import annotations

import itertools
import json

from backend.store.connection import Store
from backend.store.keys import key

_MARKS = itertools.count()


class Ear:
    """Listens from its making on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._messages = store.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._messages.subscribe(key("events"))
        self.changed("")

    def changed(self, service: str) -> set[str]:
        """The tasks of a service that were announced since the last call; the other services' are forgotten."""
        mark = f"mark{next(_MARKS)}"
        self._store.redis.publish(key("events"), json.dumps({"kind": "mark", "id": mark, "service": ""}))
        found = set()
        while True:
            message = self._messages.get_message(timeout=10.0)
            said = json.loads(message["data"]) if message else {}
            if said.get("id") == mark:
                return found
            if said.get("kind") == "task" and said["service"] == service:
                found.add(said["id"])

    def close(self) -> None:
        self._messages.close()
