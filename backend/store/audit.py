"""The audit log: who did what, when, to what, from where. It is only ever added to, and bounded by count and age."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from backend.store.call import Call, command
from backend.store.keys import key

MOST = 100_000
"""Entries that are kept at most."""


def note(entry: Mapping[str, Any], *, keep_days: float) -> list[Call[Any]]:
    """Add an entry, and forget what is older than `keep_days` (0: nothing)."""
    log = key("audit")
    calls = [command("XADD", log, "MAXLEN", "~", MOST, "*", "json", json.dumps(entry))]
    if keep_days:
        oldest = max(0, int((time.time() - keep_days * 86400) * 1000))
        calls.append(command("XTRIM", log, "MINID", "~", oldest))
    return calls


def newest(limit: int, before: str = "") -> Call[list[dict[str, Any]]]:
    """Entries, newest first, each with its `id`; with `before` those older than that id."""
    call = command("XREVRANGE", key("audit"), f"({before}" if before else "+", "-", "COUNT", limit)
    return call.then(
        lambda answer: [{"id": name.decode(), **json.loads(_only(fields))} for name, fields in answer]
    )


def _only(fields: Any) -> bytes:
    value: bytes = fields[b"json"] if isinstance(fields, dict) else fields[1]
    return value
