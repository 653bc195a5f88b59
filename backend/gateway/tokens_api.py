"""The control API about what proves who one is: tokens of accounts, and the sessions of front ends.

A session is a token that a login made. A front end asks for it with its own token, and the session never may more than
that one: through the front end of one service nobody gets into another. Who logs in proves it with a password or a
token; only the credential of a front end, or the deployment's token, is believed without that (`proved`).
"""

from __future__ import annotations

import time

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from backend.accounts import Account, Caller, Role, credentials, valid_name
from backend.errors import Conflict, Forbidden, NotFound, Unauthorized
from backend.gateway.answers import json_answer
from backend.gateway.context import CallerHere, FrontEndHere, Gateway, GatewayHere
from backend.gateway.users_api import UserName, account_of, password_fits
from backend.store import accounts
from backend.store.accounts import Token
from backend.views import SessionView, TokenList, TokenView, as_json

router = APIRouter(tags=["users"])

LASTS = 30 * 86400.0
"""Seconds that a session lasts."""

MOST_TOKENS = 200
_DAY = 86400.0
_WRONG = "name, password or token is wrong"


class Login(BaseModel):
    """Who wants to come in: a name with a password, a token of an account, or a name that a proxy has proved."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", max_length=64)
    password: str = Field(default="", max_length=credentials.LONGEST)
    token: str = Field(default="", max_length=200)
    proved: bool = False


class NewToken(BaseModel):
    """What the token is for, and for how many days it is good; null: until it is revoked."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    days: float | None = Field(default=None, gt=0, le=36_500, allow_inf_nan=False)


@router.post("/sessions", response_model=SessionView)
async def log_in(body: Login, request: Request, gateway: GatewayHere, caller: FrontEndHere) -> Response:
    """Begin a session for somebody. A front end asks: for who proves it, with the deployment's or a service's token;
    for whom a proxy has asked (`proved`), with the credential of the service's front ends or the deployment's token.
    """
    if caller.user:
        raise Forbidden("only a front end, with the deployment's or a service's own token, begins sessions")
    if body.proved:
        caller.need_word()
    # What is no account's name may be a password at the wrong place: that is not written down.
    if body.name and await gateway.store.run(accounts.maybe(body.name)) is not None:
        request.state.audited = body.name
    account = await _proved(gateway, body)
    request.state.audited = account.name
    services = None if caller.services is None else tuple(sorted(caller.services))
    token, expires = credentials.new_token(), time.time() + LASTS
    kept = Token("a browser", "session", time.time(), expires, services)
    await _keep(gateway, account.name, token, kept)
    return json_answer(as_json(SessionView(token, account.name, account.role.value, expires)))


async def _proved(gateway: Gateway, body: Login) -> Account:
    """The account that comes in; raises Unauthorized in the same words whatever was wrong, or OverLimit."""
    if body.token:
        who = (await gateway.authority.account(body.token)).user
    elif not valid_name(body.name):
        raise Unauthorized(_WRONG)
    else:
        who = body.name
        if not body.proved and not await password_fits(gateway, who, body.password):
            raise Unauthorized(_WRONG)
    account = await gateway.store.run(accounts.maybe(who))
    if account is None:
        raise Unauthorized(f"there is no account {who}; ask an administrator" if body.proved else _WRONG)
    if account.disabled:
        raise Unauthorized(f"the account {who} is disabled; ask an administrator")
    return account


@router.delete("/sessions/current", response_model=TokenView)
async def log_out(gateway: GatewayHere, caller: CallerHere) -> Response:
    """End the session, or revoke the token, that this request carries."""
    if not caller.session:
        raise Conflict("this token is the deployment's or a service's; it is no session to be ended")
    found = (await gateway.store.run(accounts.tokens(caller.user)))[caller.session]
    await gateway.store.run_all(accounts.revoke(caller.user, caller.session))
    return json_answer(as_json(_view(caller, caller.session, found)))


@router.get("/users/{user}/tokens", response_model=TokenList)
async def list_tokens(user: UserName, gateway: GatewayHere, caller: CallerHere) -> Response:
    """The tokens and sessions of an account, newest first; never the secrets themselves."""
    account = await account_of(gateway, caller, user)
    found = await _good(gateway, account.name)
    used = await gateway.store.run(accounts.last_uses(account.name))
    views = [_view(caller, kept, token, used_at=used.get(kept)) for kept, token in found.items()]
    views.sort(key=lambda view: view.created_at, reverse=True)
    return json_answer({"tokens": [as_json(view) for view in views]})


@router.post("/users/{user}/tokens", response_model=TokenView)
async def make_token(user: UserName, body: NewToken, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Make a token for an account. It is shown in this answer and never again, and covers no more than who asks."""
    account = await account_of(gateway, caller, user)
    if len(await _good(gateway, account.name)) >= MOST_TOKENS:
        raise Conflict(f"{account.name} has {MOST_TOKENS} tokens already; revoke some. Nothing was changed.")
    if account.role is Role.ADMIN and caller.role is not Role.ADMIN:
        raise Forbidden("this needs an administrator's token; nothing was changed")
    token = credentials.new_token()
    services = None if caller.services is None else tuple(sorted(caller.services))
    expires = None if body.days is None else time.time() + body.days * _DAY
    kept = Token(body.name, "token", time.time(), expires, services)
    await _keep(gateway, account.name, token, kept)
    return json_answer(as_json(_view(caller, credentials.fingerprint(token), kept, secret=token)))


@router.delete("/users/{user}/tokens/{token_id}", response_model=TokenView)
async def revoke_token(user: UserName, token_id: str, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Revoke a token or end a session; the next request with it is refused."""
    account = await account_of(gateway, caller, user)
    for kept, token in (await gateway.store.run(accounts.tokens(account.name))).items():
        if credentials.token_id(kept) == token_id:
            await gateway.store.run_all(accounts.revoke(account.name, kept))
            return json_answer(as_json(_view(caller, kept, token)))
    raise NotFound(f"{account.name} has no token {token_id[:40]!r}")


async def _keep(gateway: Gateway, user: str, token: str, kept: Token) -> None:
    if not await gateway.store.run(accounts.keep_token(user, credentials.fingerprint(token), kept)):
        raise NotFound(f"there is no account {user!r} any more; nobody was given a token")


async def _good(gateway: Gateway, user: str) -> dict[str, Token]:
    """The tokens of an account that have not expired; those that have are forgotten."""
    found = await gateway.store.run(accounts.tokens(user))
    old = [kept for kept, token in found.items() if token.expires_at and token.expires_at <= time.time()]
    for kept in old:
        await gateway.store.run_all(accounts.revoke(user, kept))
    return {kept: token for kept, token in found.items() if kept not in old}


def _view(
    caller: Caller, kept: str, token: Token, *, used_at: float | None = None, secret: str | None = None
) -> TokenView:
    return TokenView(
        id=credentials.token_id(kept),
        name=token.name,
        kind=token.kind,
        created_at=token.created_at,
        expires_at=token.expires_at,
        used_at=used_at,
        services=None if token.services is None else list(token.services),
        current=kept == caller.session,
        token=secret,
    )
