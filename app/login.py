"""The login of a front end that others can reach: a name and a password, or the deployment's token.

Who listens on loopback only needs none, as nobody else gets there. What a browser keeps is a signed cookie that says
until when it may come in; it holds no secret, and ends with the token or the password that it was given for.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import pages

COOKIE = "lorapool_session"
LASTS = 30 * 24 * 3600
"""Seconds until a browser has to log in again."""
_LARGEST_FORM = 4096
_WRONG_TAKES = 0.5
_OPEN = (
    "/healthz",
    "/login",
    "/ui/css/look.css",
    "/ui/css/login.css",
    "/ui/js/theme.js",
    "/ui/icon.svg",
    "/ui/vendor/inter/inter-latin-wght-normal.woff2",
)
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What lets people in: `username` with `password` where both are set, else the token.

    `service` names the service whose token it is; empty when it is the deployment's own.
    """

    token: str
    username: str = ""
    password: str = ""
    service: str = ""

    @property
    def by_name(self) -> bool:
        """Whether a name and a password are asked for."""
        return bool(self.username and self.password)

    def fit(self, username: str, secret: str) -> bool:
        """Whether these are the ones, in time that does not depend on where they differ."""
        if not self.by_name:
            return bool(self.token) and _same(secret, self.token)
        right_name, right_secret = _same(username, self.username), _same(secret, self.password)
        return right_name and right_secret

    def session(self, until: float) -> str:
        """The cookie of who is in until then (seconds since the epoch)."""
        return f"{int(until)}.{self._signature(int(until))}"

    def admits(self, session: str, now: float) -> bool:
        """Whether a cookie is one of ours and not too old."""
        until, _, signature = session.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 15):
            return False
        return _same(signature, self._signature(int(until))) and now < int(until)

    def _signature(self, until: int) -> str:
        key = hashlib.sha256("\0".join((self.token, self.username, self.password)).encode()).digest()
        return hmac.new(key, f"front end {until}".encode(), hashlib.sha256).hexdigest()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())


class Login:
    """The middleware: lets in who has a session, serves the page on which one gets it."""

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        root_path: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._root = root_path
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self._root) or "/"
        if scope["type"] == "http" and path in ("/login", "/logout"):
            answer = await self._answer(Request(scope, receive), path)
            await answer(scope, receive, send)
        elif path in _OPEN or self._credentials.admits(_cookie(Headers(scope=scope)), self._clock()):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "log in first"})
        else:
            await self._turned_away(scope)(scope, receive, send)

    def _turned_away(self, scope: Scope) -> Response:
        """A page leads to the login and back; whatever a script asked for is refused."""
        headers = Headers(scope=scope)
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            path = scope["path"].removeprefix(self._root) or "/"
            query = scope["query_string"].decode("latin-1")
            back = quote(path + (f"?{query}" if query else ""))
            return RedirectResponse(f"{self._root}/login?next={back}", status_code=303)
        message = "Log in first: open the front end's page in this browser. Nothing was changed."
        return JSONResponse({"error": "Unauthorized", "message": message}, status_code=401)

    async def _answer(self, request: Request, path: str) -> Response:
        if path == "/logout":
            if request.method != "POST":
                return RedirectResponse(f"{self._root}/", status_code=303)
            answer: Response = RedirectResponse(f"{self._root}/login", status_code=303)
            answer.delete_cookie(COOKIE, path=self._root or "/")
            return answer
        back = _own_path(request.query_params.get("next", "/"))
        if request.method == "GET":
            return self._page(back)
        if request.method != "POST":
            return JSONResponse({"error": "MethodNotAllowed", "message": "GET or POST."}, status_code=405)
        given = await _form(request)
        if not self._credentials.fit(given.get("username", ""), given.get("secret", "").strip()):
            # Slow enough that guessing leads nowhere.
            await asyncio.sleep(_WRONG_TAKES)
            return self._page(back, wrong=True)
        return self._admitted(request, back)

    def _admitted(self, request: Request, back: str) -> Response:
        answer = RedirectResponse(f"{self._root}{back}", status_code=303)
        forwarded = request.headers.get("x-forwarded-proto", request.url.scheme)
        answer.set_cookie(
            COOKIE,
            self._credentials.session(self._clock() + LASTS),
            max_age=LASTS,
            path=self._root or "/",
            secure=forwarded == "https",
            httponly=True,
            samesite="lax",
        )
        return answer

    def _page(self, back: str, *, wrong: bool = False) -> Response:
        by_name = self._credentials.by_name
        name = _field("username", "Name", "text", "username") if by_name else ""
        secret = _field("secret", "Password" if by_name else "Token", "password", "current-password")
        hint = "" if by_name else f"<p>{_where(self._credentials.service)}</p>"
        said = "Name or password is wrong." if by_name else "This is not the token."
        problem = f'<p class="lp-problem" role="alert">{said}</p>' if wrong else ""
        action = f"{html.escape(self._root)}/login?next={html.escape(quote(back))}"
        text = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Log in · lorapool</title>'
            f"{pages.head(self._root, ('look', 'login'))}</head><body>"
            f'<main class="lp-login"><h1>{pages.icon("mark")} lorapool</h1>'
            f'<form method="post" action="{action}">{name}{secret}{hint}{problem}'
            '<button type="submit" class="lp-button primary">Log in</button></form></main></body></html>'
        )
        headers = {"content-security-policy": _POLICY, "cache-control": "no-store"}
        return HTMLResponse(text, status_code=401 if wrong else 200, headers=headers)


def _field(name: str, label: str, kind: str, filled_by: str) -> str:
    return (
        f'<label for="{name}">{label}</label>'
        f'<input id="{name}" name="{name}" type="{kind}" autocomplete="{filled_by}" required>'
    )


def _where(service: str) -> str:
    """Where whoever runs this finds the token."""
    if service:
        return f"<code>lorapool service show {html.escape(service)}</code> prints it."
    return "It is in the file <code>token</code> of the data folder."


def _own_path(wanted: str) -> str:
    """Where to go after the login: a path of this front end, never another site."""
    plain = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    return wanted if plain and wanted.isprintable() else "/"


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


async def _form(request: Request) -> dict[str, str]:
    """The fields of a posted form; nothing when it is larger than a login can be."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_FORM:
            return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
