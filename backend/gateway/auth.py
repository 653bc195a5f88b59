"""Who asks: tokens as they are, as `Bearer`, or as the signature of the official `PredictClient`.

Every service has a token that covers its own queues and tasks; the administrator's covers everything. Tokens are
compared in constant time, and never logged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from backend.errors import Forbidden, Unauthorized
from backend.gateway.catalog import Catalog
from backend.store.services import Deployed

_SIGNED = "EAS "
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token it was: the administrator's, or that of the services in `services`."""

    administrator: bool
    services: frozenset[str] = frozenset()

    def may_use(self, service: str) -> bool:
        """Whether this token covers a service."""
        return self.administrator or service in self.services

    def need(self, service: str) -> None:
        """Raises Forbidden when this token does not cover a service."""
        if not self.may_use(service):
            raise Forbidden(f"this token is not the one of service {service}; nothing was changed")

    def need_administrator(self) -> None:
        """Raises Forbidden when this is a service's token."""
        if not self.administrator:
            raise Forbidden("this needs the administrator's token; nothing was changed")


@dataclass(frozen=True, slots=True)
class Signed:
    """What the signature of a request covers."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def signature(token: str, request: Signed) -> str:
    """`Authorization` of a signed request: base64(HMAC-SHA1(token, method, MD5, type, date, path)).

    Source: eas-prediction 0.36, `PredictClient`. The date is the client's local time and is not checked.
    """
    digest = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
    text = "\n".join(
        (
            request.method,
            digest,
            request.headers.get("content-type", ""),
            request.headers.get("date", ""),
            request.path,
        )
    )
    mac = hmac.new(token.encode(), text.encode("utf-8", "replace"), hashlib.sha1)
    return _SIGNED + base64.b64encode(mac.digest()).decode()


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in time that does not depend on where they differ; an empty one never is."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()) and bool(expected)


class Authority:
    """Decides whom a request's `Authorization` speaks for."""

    def __init__(self, administrator_token: str, catalog: Catalog) -> None:
        self._administrator = administrator_token
        self._catalog = catalog

    async def caller(self, authorization: str, service: Deployed | None, request: Signed | None) -> Caller:
        """Who it is. `service` is the one that is asked for, looked at before all others.

        `request` is what a signature would cover, None where signatures are not taken.

        Raises:
            Unauthorized: no token, or one that nobody was given.
        """
        if not authorization.strip():
            raise Unauthorized("no token: send it in the header Authorization. Nothing was changed.")

        def fits(token: str) -> bool:
            if request is not None and authorization.startswith(_SIGNED):
                return same(authorization, signature(token, request))
            bearer = authorization[: len(_BEARER)].lower() == _BEARER
            return same(authorization[len(_BEARER) :] if bearer else authorization, token)

        if fits(self._administrator):
            return Caller(administrator=True)
        if service is not None and fits(service.token):
            return Caller(administrator=False, services=frozenset({service.description.name}))
        own = _covered(await self._catalog.all(), fits)
        if not own:
            raise Unauthorized("this token is not known here. Nothing was changed.")
        return Caller(administrator=False, services=own)


def _covered(deployed: Iterable[Deployed], fits: Callable[[str], bool]) -> frozenset[str]:
    return frozenset([service.description.name for service in deployed if fits(service.token)])
