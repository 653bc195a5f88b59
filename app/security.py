"""What stands before every request: only our own pages may change anything, and only under a name that is ours.

The front end holds a token that may do everything, and a browser sends requests for any page that asks it to. So
a request that changes something, and every WebSocket, must come from a page of this very front end.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})

OWN_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "SAMEORIGIN",
}


def same_origin(headers: Headers) -> bool:
    """Whether the browser says that a page of this origin made the request.

    What is no browser sends neither header and is let through: it cannot be made to act for somebody.
    Behind a proxy that rewrites `Host`, `Sec-Fetch-Site` still tells the truth.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    names = {headers.get("host", ""), headers.get("x-forwarded-host", "")} - {""}
    return urlsplit(origin).netloc in names


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on is this machine's own."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def known_host(host_header: str, names: Iterable[str]) -> bool:
    """Whether a `Host` header is an address or one of `names`.

    A foreign name that resolves to this machine (DNS rebinding) would make a foreign page "same origin".
    """
    name = (urlsplit(f"//{host_header}").hostname or "").lower()
    if name in _LOOPBACK_NAMES or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """The middleware. `host` is what the front end listens on; on loopback only addresses and `names` are served."""

    def __init__(self, app: ASGIApp, host: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names) if is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "not from this page"})
        else:
            body = {"error": "Forbidden", "message": refusal}
            await JSONResponse(body, status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if self._names is not None and not known_host(host, self._names):
            return (
                f"This front end does not answer to the name {host!r}. Open it by address, or start it with "
                "LORAPOOL_UI_HOSTS set to the names it may be reached by."
            )
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if changes and not same_origin(headers):
            return "This request came from another site's page. Nothing was changed; use lorapool's own page."
        return None


class GetOnly:
    """An application that may only be looked at: Gradio's own uploads and queues are of no use to our form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            body = {"error": "Forbidden", "message": "This address takes nothing."}
            await JSONResponse(body, status_code=405)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            extra = [(k.encode(), v.encode()) for k, v in OWN_HEADERS.items() if k.encode() not in names]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending
