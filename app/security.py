"""What stands before every request: only our own pages may change anything, and only under a name that is ours.

The front end holds a token that may do everything, and a browser sends requests for any page that asks it to. So
a request that changes something, and every WebSocket, must come from a page of this very front end.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import pages

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


_FORM_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
"""Gradio evaluates its scripts; but nothing is loaded from, or sent to, another place."""
_NOTHING = {"error": "NotFound", "message": "There is nothing here."}


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
            await self._app(scope, receive, _with_headers(send, OWN_HEADERS))
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


class PageOnly:
    """Of Gradio the page and what it is made of, to be looked at: no uploads, files, proxies and queues.

    Our form needs none of them, and each has been a way in before (CVE-2023-51449, CVE-2026-28416).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await JSONResponse(_NOTHING, status_code=405)(scope, receive, send)
        elif path == "/":
            await self._app(scope, receive, _with_headers(send, {"content-security-policy": _FORM_POLICY}))
        elif path.startswith("/assets/"):
            # Named by their content.
            forever = {"cache-control": "public, max-age=31536000, immutable"}
            await self._app(scope, receive, _with_headers(send, forever))
        elif path.startswith("/static/") or path in ("/theme.css", "/favicon.ico", "/manifest.json"):
            await self._app(scope, receive, send)
        else:
            request = Request(scope, receive)
            text = "There is nothing at this address."
            page = pages.wants_page(request) and pages.dead_end(request, text, 404)
            await (page or JSONResponse(_NOTHING, status_code=404))(scope, receive, send)


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """The same, with these headers where the answer has not its own."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            extra = [(k.encode(), v.encode()) for k, v in headers.items() if k.encode() not in names]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending
