"""Who is at the page: the front end itself, or somebody with an account, as the gateway knows them.

What a person asks of the gateway is asked with the token of that person's session, never with the front end's own.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from app.gateway import Gateway, GatewayLost, GatewayRefused
from backend.errors import Forbidden

_FRESH = 5.0
"""Seconds for which an answer is believed: so long may an account that was disabled still look at pages."""

_MOST_KNOWN = 1000
_SPARE = 3600.0
"""Seconds before its end at which a session for who comes through a proxy is begun anew."""


@dataclass(frozen=True, slots=True)
class Person:
    """`token` is what the gateway is asked with; `name` is empty for the front end itself."""

    token: str
    name: str = ""
    role: str = "admin"
    everywhere: bool = True

    @property
    def operator(self) -> bool:
        """Whether all files of the data folder are this one's to use."""
        return self.role == "admin"

    @property
    def administrator(self) -> bool:
        """Whether this one manages the accounts."""
        return self.role == "admin" and self.everywhere

    def need_writer(self) -> None:
        """Raises Forbidden for a viewer."""
        if self.role == "viewer":
            raise Forbidden(f"{self.name} is a viewer and may change nothing; nothing was changed")


def person_of(connection: HTTPConnection) -> Person:
    """Who makes this request. Without a login everybody is the front end itself."""
    found: Person | None = connection.scope.get("state", {}).get("person")
    return found or Person(connection.app.state.token)


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway, asked by the person who makes this request."""
    gateway: Gateway = connection.app.state.gateway
    peer = connection.client.host if connection.client else ""
    return gateway.speaking(person_of(connection).token, peer)


class People:
    """The accounts of a deployment, asked for at most every few seconds.

    `front_end_token` is what the gateway believes when a proxy says who somebody is; none: the front end's own token
    has to be the deployment's for that.

    Raises (every method):
        GatewayLost: it does not answer, and nothing is known from before.
    """

    def __init__(self, gateway: Gateway, front_end_token: str = "") -> None:
        self._gateway = gateway
        self._word = front_end_token or None
        self._any: tuple[float, bool] | None = None
        self._known: dict[str, tuple[float, Person | None]] = {}
        self._proved: dict[str, tuple[float, str]] = {}
        self._lock = asyncio.Lock()

    async def any(self) -> bool:
        """Whether there are accounts at all."""
        now = time.monotonic()
        if self._any is None or now - self._any[0] >= _FRESH:
            try:
                found = bool((await self._gateway.get("info")).get("accounts"))
            except GatewayLost:
                if self._any is None:
                    raise
                found = self._any[1]
            self._any = now, found
        return self._any[1]

    async def who(self, token: str) -> Person | None:
        """Whose session this is; None when it is none any more."""
        now = time.monotonic()
        known = self._known.get(token)
        if known is not None and now - known[0] < _FRESH:
            return known[1]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        try:
            found = _person(token, await self._gateway.speaking(token).get("me"))
        except GatewayRefused as error:
            if error.status != 401:
                raise
            found = None
        except GatewayLost:
            if known is None:
                raise
            found = known[1]
        self._known[token] = now, found
        return found

    async def log_in(self, *, name: str, secret: str, source: str) -> str:
        """The token of a new session: for a name with its password, or without a name for a token.

        Raises:
            GatewayRefused: they are wrong (401), or too many were (429).
        """
        given = {"name": name, "password": secret} if name else {"token": secret}
        return (await self._begin(None, given, source))[0]

    async def proved(self, name: str, source: str) -> Person | None:
        """Who a proxy says that it is, None when there is no such account; one session is used by all requests."""
        async with self._lock:
            until, token = self._proved.get(name, (0.0, ""))
            found = await self.who(token) if time.time() < until - _SPARE else None
            if found is None:
                try:
                    token, until = await self._begin(self._word, {"name": name, "proved": True}, source)
                except GatewayRefused as error:
                    if error.status != 401:
                        raise
                    return None
                self._proved[name] = until, token
                found = await self.who(token)
        return found

    async def _begin(self, own: str | None, given: dict[str, Any], source: str) -> tuple[str, float]:
        session = await self._gateway.speaking(own, source).post("sessions", given)
        return str(session["token"]), float(session["expires_at"])

    async def log_out(self, token: str) -> None:
        """End a session."""
        await self._gateway.speaking(token).send("DELETE", "sessions/current")
        # Not before: a request in between would have it known for a while.
        self._known.pop(token, None)


def _person(token: str, said: dict[str, Any]) -> Person:
    return Person(token, said["name"], said["role"], said["services"] is None)
