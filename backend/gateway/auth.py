"""Who asks: tokens as they are, as `Bearer`, or as the signature of the official `PredictClient`.

Every service has a token that covers its own queues and tasks, and a credential with which its front ends begin
sessions; the administrator's covers everything; accounts have tokens of their own, of which only fingerprints are known
here. Tokens are compared in constant time, and never logged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from backend.accounts import Caller, Role, credentials
from backend.errors import Unauthorized
from backend.gateway.catalog import Catalog
from backend.store import accounts
from backend.store.connection import AsyncStore
from backend.store.services import Deployed

_SIGNED = "EAS "
_BEARER = "bearer "


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

    def __init__(self, administrator_token: str, catalog: Catalog, store: AsyncStore) -> None:
        self._administrator = administrator_token
        self._catalog = catalog
        self._store = store

    async def caller(self, authorization: str, service: Deployed | None, request: Signed | None) -> Caller:
        """Who it is. `service` is the one that is asked for, looked at before all others.

        `request` is what a signature would cover, None where signatures are not taken. An account cannot sign: what
        is known of its tokens does not suffice to check that.

        Raises:
            Unauthorized: no token, one that nobody was given, or one that is void by now.
        """
        if not authorization.strip():
            raise Unauthorized("no token: send it in the header Authorization. Nothing was changed.")
        given = _plain(authorization)

        def fits(token: str) -> bool:
            if request is not None and authorization.startswith(_SIGNED):
                return same(authorization, signature(token, request))
            return same(given, token)

        if fits(self._administrator):
            return Caller()
        if service is not None and fits(service.token):
            return Caller(services=frozenset({service.description.name}))
        if given.startswith(credentials.PREFIX):
            return await self.account(given)
        own = _covered(await self._catalog.all(), fits)
        if not own:
            raise Unauthorized("this token is not known here. Nothing was changed.")
        return Caller(services=own)

    async def front_end(self, authorization: str) -> Caller:
        """Who begins a session: a front end by its own credential, which is taken here alone, or a `caller`."""
        given = _plain(authorization)
        if not given.startswith(credentials.FRONT_END_PREFIX):
            return await self.caller(authorization, None, None)
        for service in await self._catalog.all():
            if same(given, service.front_end_token):
                own = frozenset({service.description.name})
                return Caller(role=Role.VIEWER, services=own, commands=False, front_end=True)
        raise Unauthorized(
            "this credential of a front end is not known here, or was replaced. Nobody was let in."
        )

    async def account(self, token: str) -> Caller:
        """Who has this token of an account; raises Unauthorized."""
        kept = credentials.fingerprint(token)
        found = await self._store.run(accounts.whose(kept))
        if found is None:
            raise Unauthorized("this token is not known here, or was revoked. Nothing was changed.")
        account, record = found
        if record.expires_at is not None and record.expires_at <= time.time():
            raise Unauthorized("this token has expired. Nothing was changed; make a new one.")
        if account.disabled:
            raise Unauthorized(
                f"the account {account.name} is disabled. Nothing was changed; ask an administrator."
            )
        return Caller(
            role=account.role,
            services=_both(account.services or None, record.services),
            user=account.name,
            session=kept,
            commands=account.commands or account.role is Role.ADMIN,
        )


def _plain(authorization: str) -> str:
    """The token of a header, without `Bearer`."""
    bearer = authorization[: len(_BEARER)].lower() == _BEARER
    return authorization[len(_BEARER) :] if bearer else authorization


def _both(account: frozenset[str] | None, token: Iterable[str] | None) -> frozenset[str] | None:
    """The services that an account and its token cover, None: all."""
    if account is None or token is None:
        return account if token is None else frozenset(token)
    return account & frozenset(token)


def _covered(deployed: Iterable[Deployed], fits: Callable[[str], bool]) -> frozenset[str]:
    return frozenset([service.description.name for service in deployed if fits(service.token)])
