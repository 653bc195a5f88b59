"""What a browser keeps of a login: a signed cookie, and what proves that it is one of this front end's."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers

COOKIE = "lorapool_session"
LASTS = 30 * 24 * 3600
"""Seconds until a browser has to log in again."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What lets people in as the front end itself: `username` with `password` where both are set, else the token.

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

    def session(self, until: float, person: str = "") -> str:
        """The cookie of who is in until then (seconds since the epoch).

        `person` is the token of an account's session at the gateway, empty for the front end itself. Only this
        browser and the gateway have it; both can end it.
        """
        return f"{int(until)}.{person}.{self._signature(int(until), person)}"

    def holder(self, session: str, now: float) -> str | None:
        """The account's token that a cookie of ours holds, '' for the front end itself; None: not ours, or too old."""
        until, _, rest = session.partition(".")
        person, _, signature = rest.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 15):
            return None
        return person if _same(signature, self._signature(int(until), person)) and now < int(until) else None

    def _signature(self, until: int, person: str) -> str:
        key = _signing_key("\0".join((self.token, self.username, self.password)))
        return hmac.new(key, f"front end {until} {person}".encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=16)
def _signing_key(secret: str) -> bytes:
    """Made slowly, once: whoever is let in has a signature, and could try passwords on that at home."""
    return hashlib.scrypt(secret.encode(), salt=b"lorapool front end", n=1 << 14, r=8, p=1, dklen=32)


def cookie_name(headers: Headers) -> str:
    """The cookie's name at the address that a browser has asked for.

    Browsers keep cookies by host and not by port: of two front ends on one machine each has its own.
    """
    port = headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isascii() and port.isdigit() else COOKIE


def cookie_of(headers: Headers) -> str:
    """The session cookie of a request, '' without one."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie_name(headers))
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
