"""The control API about accounts: administrators make and change them, everybody sees their own."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from backend.accounts import Account, Caller, Limits, Role, credentials, valid_name
from backend.errors import Conflict, Forbidden, FormerName, InvalidArgument, NotFound, OverLimit
from backend.gateway.answers import json_answer
from backend.gateway.context import CallerHere, Gateway, GatewayHere
from backend.store import accounts, usage
from backend.store.names import kept_under
from backend.views import AccountList, AccountUsage, AccountView, LimitsView, as_json

router = APIRouter(tags=["users"])

UserName = Annotated[str, Path(description="the account's name, or `me`", max_length=200)]
Name = Annotated[str, Field(max_length=64)]


class LimitsBody(BaseModel):
    """What an account may have at once, and use in a day (UTC); null: no limit."""

    model_config = ConfigDict(extra="forbid")

    running: int | None = Field(default=None, ge=0, le=1_000_000)
    queued: int | None = Field(default=None, ge=0, le=1_000_000)
    gpu_seconds: float | None = Field(default=None, ge=0, le=1e9, allow_inf_nan=False)

    def limits(self) -> Limits:
        return Limits(self.running, self.queued, self.gpu_seconds)


class NewUser(BaseModel):
    """A new account. Without a password it comes in with tokens, or through a proxy that has asked.

    `returning`: the person who had this name comes back, and gets what is kept under it.
    """

    model_config = ConfigDict(extra="forbid")

    name: Name
    role: Role = Role.MEMBER
    password: str | None = None
    limits: LimitsBody = LimitsBody()
    services: list[Name] = Field(default_factory=list, max_length=100)
    commands: bool = False
    returning: bool = False


class UserChange(BaseModel):
    """What is to be changed of an account; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    limits: LimitsBody | None = None
    services: list[Name] | None = Field(default=None, max_length=100)
    commands: bool | None = None
    disabled: bool | None = None


class PasswordChange(BaseModel):
    """A new password; who is no administrator says the old one, too."""

    model_config = ConfigDict(extra="forbid")

    password: str
    old: str = ""


async def password_fits(gateway: Gateway, name: str, password: str) -> bool:
    """Whether it is the password of this account; raises OverLimit when too many of late were not.

    A try counts before it is looked at: many at the same time are no more than one after the other.
    """
    if await gateway.store.run(accounts.try_login(name)) > MOST_FAILURES:
        raise OverLimit(f"too many wrong passwords for {name}; try again in a minute. Tokens still work.")
    kept = await gateway.store.run(accounts.password(name))
    fits = await asyncio.to_thread(credentials.fits, password, kept)
    if fits:
        await gateway.store.run(accounts.login_was_right(name))
    return fits


MOST_FAILURES = 10
"""Wrong passwords of an account within a minute."""


async def account_of(gateway: Gateway, caller: Caller, name: str) -> Account:
    """The account that a path names (`me`: the caller's), for its owner and for administrators.

    Raises:
        NotFound: there is none, or `me` was asked by a token that belongs to no account.
        Forbidden: it is another's.
    """
    wanted = caller.user if name == "me" else name
    if not wanted:
        raise NotFound(
            "this token is the deployment's or a service's, and belongs to no account; name the account, or use a "
            "token of one's own"
        )
    if wanted != caller.user:
        caller.need_administrator()
    found = await gateway.store.run(accounts.maybe(wanted))
    if found is None:
        raise NotFound(f"there is no account {wanted!r}")
    return found


async def _view(gateway: Gateway, account: Account) -> AccountView:
    kept = await gateway.store.run(accounts.password(account.name))
    used = await gateway.store.run(usage.of(account.name))
    return AccountView(
        name=account.name,
        role=account.role.value,
        limits=LimitsView(account.limits.running, account.limits.queued, account.limits.gpu_seconds),
        usage=AccountUsage(used.running, used.queued, round(used.gpu_seconds, 3)),
        services=sorted(account.services) or None,
        commands=account.commands or account.role is Role.ADMIN,
        disabled=account.disabled,
        password=bool(kept),
        created_at=account.created_at,
    )


@router.get("/me", response_model=AccountView)
async def who_am_i(gateway: GatewayHere, caller: CallerHere) -> Response:
    """Whose this token is and what it may do; for the deployment's and services' own tokens without a name."""
    if caller.user:
        account = await account_of(gateway, caller, "me")
        covered = None if caller.services is None else sorted(caller.services)
        view = replace(await _view(gateway, account), role=caller.role.value, services=covered)
    else:
        services = None if caller.services is None else sorted(caller.services)
        view = AccountView("", caller.role.value, LimitsView(), AccountUsage(), services, commands=True)
    return json_answer(as_json(view))


@router.get("/users", response_model=AccountList)
async def list_users(gateway: GatewayHere, caller: CallerHere) -> Response:
    """All accounts, by name."""
    caller.need_administrator()
    found = await gateway.store.run(accounts.every())
    return json_answer({"users": [as_json(await _view(gateway, each)) for each in found]})


@router.post("/users", response_model=AccountView)
async def add_user(body: NewUser, request: Request, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Make an account."""
    caller.need_administrator()
    if not valid_name(body.name) or body.name == "me":
        raise InvalidArgument(
            "name",
            "an account's name is 1 to 64 letters, digits and . _ @ + -, not `me`; nothing was changed",
        )
    request.state.audited = f"{body.name} returning" if body.returning else body.name
    if body.password is not None:
        credentials.check_password(body.password)
    account = Account(
        name=body.name,
        role=body.role,
        limits=body.limits.limits(),
        services=frozenset(body.services),
        commands=body.commands,
        created_at=time.time(),
    )
    await _add(gateway, account, returning=body.returning)
    if body.password is not None:
        await _set_password(gateway, body.name, body.password)
    return json_answer(as_json(await _view(gateway, account)))


async def _add(gateway: Gateway, account: Account, *, returning: bool) -> None:
    """Keep a new account; raises Conflict where its name is, or was, somebody's."""
    name = account.name
    if not returning and await gateway.store.run(accounts.unknown(name)):
        kept = await gateway.with_store(lambda store: kept_under(store, name))
        if kept:
            raise FormerName(f"there are {kept} of a user {name} already. {_NOT_FREE}")
    added = await gateway.store.run(accounts.add(account, returning=returning))
    if added.state == "taken":
        raise Conflict(f"there is an account {name} already; it was not changed")
    if added.state == "former":
        day = time.strftime("%Y-%m-%d", time.gmtime(added.former))
        raise FormerName(f"{name} was the name of an account that was removed on {day}. {_NOT_FREE}")


_NOT_FREE = (
    "Nothing was changed: whoever gets the name gets what is kept under it. If it is the same person, say so "
    "(returning; lorapool user add --returning); for anybody else choose another name."
)


@router.get("/users/{user}", response_model=AccountView)
async def get_user(user: UserName, gateway: GatewayHere, caller: CallerHere) -> Response:
    """One account, for itself and for administrators."""
    return json_answer(as_json(await _view(gateway, await account_of(gateway, caller, user))))


@router.patch("/users/{user}", response_model=AccountView)
async def change_user(user: UserName, body: UserChange, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Change an account's role, limits or services, or disable it: then none of its tokens is taken any more."""
    caller.need_administrator()
    account = await account_of(gateway, caller, user)
    if account.name == caller.user and (body.disabled or body.role not in (None, Role.ADMIN)):
        raise Conflict(
            "an administrator cannot give up its own rights; another one can. Nothing was changed."
        )
    changed = replace(
        account,
        role=body.role or account.role,
        limits=account.limits if body.limits is None else body.limits.limits(),
        services=account.services if body.services is None else frozenset(body.services),
        commands=account.commands if body.commands is None else body.commands,
        disabled=account.disabled if body.disabled is None else body.disabled,
    )
    if not await gateway.store.run(accounts.save(changed)):
        raise NotFound(f"there is no account {changed.name!r} any more")
    return json_answer(as_json(await _view(gateway, changed)))


@router.put("/users/{user}/password", response_model=AccountView)
async def set_password(
    user: UserName, body: PasswordChange, gateway: GatewayHere, caller: CallerHere
) -> Response:
    """Set a password. Sessions that were begun with another one end, all but the one that asks."""
    account = await account_of(gateway, caller, user)
    credentials.check_password(body.password)
    if not caller.administrator and not await password_fits(gateway, account.name, body.old):
        raise Forbidden("the old password is wrong; nothing was changed")
    await _set_password(gateway, account.name, body.password)
    for fingerprint, token in (await gateway.store.run(accounts.tokens(account.name))).items():
        if token.kind == "session" and fingerprint != caller.session:
            for call in accounts.revoke(account.name, fingerprint):
                await gateway.store.run(call)
    return json_answer(as_json(await _view(gateway, account)))


async def _set_password(gateway: Gateway, name: str, password: str) -> None:
    kept = await asyncio.to_thread(credentials.hashed, password)
    if not await gateway.store.run(accounts.set_password(name, kept)):
        raise NotFound(f"there is no account {name!r} any more")


@router.delete("/users/{user}", response_model=AccountView)
async def remove_user(user: UserName, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Remove an account and all its tokens. Its tasks, data and LoRAs stay, and nobody else gets its name."""
    caller.need_administrator()
    account = await account_of(gateway, caller, user)
    if account.name == caller.user:
        raise Conflict("an administrator cannot remove itself; another one can. Nothing was changed.")
    view = await _view(gateway, account)
    await gateway.store.run(accounts.remove(account.name))
    return json_answer(as_json(view))
