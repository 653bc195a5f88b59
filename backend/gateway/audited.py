"""The audit log of the gateway: whoever changes something is written down before it is answered, and who was refused.

An entry never holds a body, a query or a token.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.accounts import Caller
from backend.errors import StoreUnavailable
from backend.gateway.context import Gateway
from backend.store import audit

log = logging.getLogger("lorapool.gateway")

FORWARDED = "x-lorapool-from"
"""The header in which a front end says whose browser it speaks for."""

AGAIN = 60.0
"""Seconds in which the same refusal is written down once: a client that repeats must not push out all else."""

_LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
_QUESTIONS = frozenset({"get_access"})
"""Requests that change nothing although they are a POST."""

_REFUSED = (401, 403)
_LONGEST = 200
_MOST_REFUSALS = 1000
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{1,45}")


class Audited:
    """The middleware around the control API."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway
        self._refusals: dict[tuple[object, ...], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(scope, message["status"])
            await send(message)

        await self._app(scope, receive, sending)

    async def _note(self, scope: Scope, status: int) -> None:
        name = getattr(scope.get("route"), "name", "")
        changed = scope["method"] not in _LOOKS and name not in _QUESTIONS and status < 400
        if not changed and status not in _REFUSED:
            return
        entry = described(scope, name, status)
        if changed or self._first(entry):
            await note(self._gateway, entry)

    def _first(self, entry: dict[str, Any]) -> bool:
        """Whether this refusal is not one of the last minute's."""
        now, what = time.monotonic(), (entry["who"], entry["role"], entry["did"], entry["source"])
        if len(self._refusals) >= _MOST_REFUSALS:
            self._refusals = {key: at for key, at in self._refusals.items() if now - at < AGAIN}
        if len(self._refusals) >= _MOST_REFUSALS or now - self._refusals.get(what, -AGAIN) < AGAIN:
            return False
        self._refusals[what] = now
        return True


async def note(gateway: Gateway, entry: dict[str, Any]) -> None:
    """Add an entry; should the store be away, the log of this process has it."""
    try:
        for call in audit.note(entry, keep_days=gateway.settings.audit_days):
            await gateway.store.run(call)
    except StoreUnavailable:
        log.warning("not in the audit log, for the store was away: %s", entry)


def described(scope: Scope, name: str, status: int) -> dict[str, Any]:
    """What the log says of a request."""
    state = scope.get("state", {})
    caller: Caller | None = state.get("caller")
    parts = [str(value) for value in scope.get("path_params", {}).values()]
    peer = scope["client"][0] if scope.get("client") else ""
    return {
        "who": caller.user if caller else "",
        "role": role_of(caller),
        "did": name or f"{scope['method']} {scope['path'][:_LONGEST]}",
        "to": (state.get("audited") or "/".join(parts))[:_LONGEST],
        "source": source(peer, Headers(scope=scope).get(FORWARDED, "")),
        "status": status,
    }


def role_of(caller: Caller | None) -> str:
    """What kind of token it was."""
    if caller is None:
        return ""
    if caller.user:
        return caller.role.value
    if caller.services is None:
        return "deployment"
    kind = "front end of" if caller.front_end else "service"
    return f"{kind} {', '.join(sorted(caller.services))}"


def source(peer: str, forwarded: str) -> str:
    """The address that asked; for a front end that of the browser too, as far as it can be one."""
    return f"{forwarded} via {peer}" if _ADDRESS.fullmatch(forwarded) else peer
