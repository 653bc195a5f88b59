"""What the store says aloud: two pub/sub channels, what is said on them, and by whom it may be heard.

Scripts announce what they change themselves (`publish` in scripts/lib/base.lua); here is what plain commands change.
"""

from __future__ import annotations

import json
from typing import Literal, TypeAlias

from backend.store.call import Call, command
from backend.store.keys import key

CHANGES = key("events")
"""Channel: `{"kind", "id", "service"}`, from a script also `at`, in seconds since the epoch."""

QUEUE_CHANGES = key("queue_events")
"""Channel: a queue has something for a waiter: `{"queue", "pair"}` or `{"queue", "group", "consumer"}`."""

Kind: TypeAlias = Literal["task", "instance", "service"]


def announce(kind: Kind, name: str, service: str) -> Call[None]:
    """Say that a task, an instance or a service has changed."""
    text = json.dumps({"kind": kind, "id": name, "service": service})
    return command("PUBLISH", CHANGES, text).then(lambda _: None)
