"""The login of a front end: who is let in, and as whom.

    loopback, no accounts       everybody, as the front end itself: only people on this machine get there, unless a
                                proxy says that it has passed the request on: then as elsewhere
    elsewhere, no accounts      with the front end's token, or `--username` and `--password`: as the front end itself
    with accounts, anywhere     with a name and a password or a token: as that account, with its rights
    from a proxy that is named  whom the proxy says, as that account

What a browser keeps is a signed cookie; an account's ends with its session at the gateway, the front end's own with
the token or the password that it was given for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app import login_page
from app.gateway import GatewayLost, GatewayRefused
from app.languages import Languages
from app.people import People, Person
from app.proxies import Proxies, passed_on
from app.sessions import COOKIE, LASTS, Credentials, cookie_name, cookie_of
from app.tries import Tries

__all__ = ["COOKIE", "LASTS", "Credentials", "Login"]

_WRONG_TAKES = 0.5
_GATEWAY_STARTS = 5.0
"""Seconds that a first request waits for a gateway that is not up yet."""

_OPEN = (
    "/healthz",
    "/ui/css/look.css",
    "/ui/css/login.css",
    "/ui/js/theme.js",
    "/ui/icon.svg",
    "/ui/vendor/inter/inter-latin-wght-normal.woff2",
)
_TOO_MANY = "Too many wrong tries from here; try again in a minute."
_LOG_IN = "Log in first: open the front end's page in this browser. Nothing was changed."


class Login:
    """The middleware: lets in who has a session, serves the page on which one gets it.

    Args:
        people: the accounts; None where there is no gateway to have any.
        asks: whether a login is asked for where there are no accounts.
        languages: those that its pages can be in.
    """

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        root_path: str = "",
        clock: Callable[[], float] = time.time,
        *,
        people: People | None = None,
        proxies: Proxies | None = None,
        asks: bool = True,
        languages: Languages | None = None,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._root = root_path
        self._clock = clock
        self._people = people
        self._proxies = proxies or Proxies()
        # Who stands behind a proxy is not on this machine, whatever it listens on.
        self._asks = asks or bool(self._proxies.networks)
        self._languages = languages or Languages()
        self._tries = Tries()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self._root) or "/"
        if path in _OPEN:
            await self._app(scope, receive, send)
            return
        try:
            if scope["type"] == "http" and path in ("/login", "/logout"):
                refusal = await self._answer(Request(scope, receive), path)
            else:
                person = await self._person(scope)
                if isinstance(person, Person):
                    scope.setdefault("state", {})["person"] = person
                    await self._app(scope, receive, send)
                    return
                refusal = person or self._turned_away(scope)
        except (GatewayLost, GatewayRefused) as error:
            refusal = self._refused(scope, error.status, str(error), again=True)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "log in first"})
        else:
            await refusal(scope, receive, send)

    async def _person(self, scope: Scope) -> Person | Response | None:
        """Who makes a request; None when nobody knows, an answer when somebody who may not come in."""
        headers = Headers(scope=scope)
        named = self._proxies.named(scope, headers)
        if named and self._people is not None:
            found = await self._people.proved(named, self._proxies.source(scope, headers))
            text = f"There is no account {named} here; an administrator can make one. Nothing was changed."
            return found or self._refused(scope, 403, text)
        token = self._credentials.holder(cookie_of(headers), self._clock())
        if token:
            return await self._people.who(token) if self._people is not None else None
        if token is None and (self._asks or passed_on(headers) or await self._accounts()):
            return None
        return Person(self._credentials.token)

    async def _accounts(self) -> bool:
        if self._people is None:
            return False
        deadline = time.monotonic() + _GATEWAY_STARTS
        while True:
            try:
                return await self._people.any()
            except GatewayLost:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    def _refused(self, scope: Scope, status: int, text: str, *, again: bool = False) -> Response:
        if scope["type"] == "http" and _wants_page(scope):
            return login_page.said(self._look(Headers(scope=scope)), text, status, again=again)
        name = "Forbidden" if status == 403 else "GatewayLost"
        return JSONResponse({"error": name, "message": text}, status_code=status)

    def _turned_away(self, scope: Scope) -> Response:
        """A page leads to the login and back; whatever a script asked for is refused."""
        if scope["type"] == "http" and _wants_page(scope):
            path = scope["path"].removeprefix(self._root) or "/"
            query = scope["query_string"].decode("latin-1")
            back = quote(path + (f"?{query}" if query else ""))
            return RedirectResponse(f"{self._root}/login?next={back}", status_code=303)
        # By the header a page knows that it is the login that is over, not a password that is wrong.
        headers = {"x-lorapool-login": f"{self._root}/login"}
        return JSONResponse({"error": "Unauthorized", "message": _LOG_IN}, status_code=401, headers=headers)

    async def _answer(self, request: Request, path: str) -> Response:
        if path == "/logout":
            return await self._log_out(request)
        back = login_page.own_path(request.query_params.get("next", "/"))
        if request.method not in ("GET", "POST"):
            return JSONResponse({"error": "MethodNotAllowed", "message": "GET or POST."}, status_code=405)
        accounts, look = await self._accounts(), self._look(request.headers)
        if request.method == "GET":
            return login_page.form(look, self._credentials, back, accounts=accounts)
        given = await login_page.posted(request)
        name, secret = given.get("username", "").strip(), given.get("secret", "")
        source = self._proxies.source(request.scope, request.headers)
        if not self._tries.begin(source, self._clock()):
            return login_page.form(
                look, self._credentials, back, accounts=accounts, wrong=_TOO_MANY, name=name, status=429
            )
        if self._fits(name, secret):
            self._tries.was_right(source)
            return self._admitted(request, back, "")
        wrong = "Name or password is wrong." if self._credentials.by_name else "This is not the token."
        if accounts and self._people is not None:
            try:
                token = await self._people.log_in(
                    name=name, secret=secret if name else secret.strip(), source=source
                )
                self._tries.was_right(source)
                return self._admitted(request, back, token)
            except GatewayRefused as error:
                wrong = str(error) if error.status == 429 else "Name, password or token is wrong."
        # Slow enough that guessing leads nowhere.
        await asyncio.sleep(_WRONG_TAKES)
        return login_page.form(look, self._credentials, back, accounts=accounts, wrong=wrong, name=name)

    def _look(self, headers: Headers) -> login_page.Look:
        return login_page.Look(self._root, self._languages, self._languages.wanted(headers))

    def _fits(self, name: str, secret: str) -> bool:
        """Whether somebody comes in as the front end itself; with a name only where it has one of its own."""
        if name and not self._credentials.by_name:
            return False
        return self._credentials.fit(name, secret.strip())

    async def _log_out(self, request: Request) -> Response:
        if request.method != "POST":
            return RedirectResponse(f"{self._root}/", status_code=303)
        token = self._credentials.holder(cookie_of(request.headers), self._clock())
        if token and self._people is not None:
            await self._people.log_out(token)
        answer = RedirectResponse(f"{self._root}/login", status_code=303)
        answer.delete_cookie(cookie_name(request.headers), path=self._root or "/")
        return answer

    def _admitted(self, request: Request, back: str, token: str) -> Response:
        answer = RedirectResponse(f"{self._root}{back}", status_code=303)
        forwarded = request.headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
        answer.set_cookie(
            cookie_name(request.headers),
            self._credentials.session(self._clock() + LASTS, token),
            max_age=LASTS,
            path=self._root or "/",
            secure=forwarded == "https",
            httponly=True,
            samesite="lax",
        )
        return answer


def _wants_page(scope: Scope) -> bool:
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")
