"""What the Users page asks for.

    GET  people/me                             who is at the page
    GET  people/users                          accounts, for administrators
    POST people/users                          a new account
    POST people/users/{name}                   role, limits, services, commands, disabled
    POST people/users/{name}/remove            remove an account
    POST people/users/{name}/password          a new password
    GET  people/users/{name}/tokens            tokens and sessions; `me`: one's own
    POST people/users/{name}/tokens            a new token, shown once
    POST people/users/{name}/tokens/{id}/revoke
    GET  people/audit                          who did what

The gateway is asked with the token of who is at the page, and says what that one may do.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request

from app.people import gateway_of, person_of
from backend.errors import InvalidInput

router = APIRouter()

_MOST = 50


@router.get("/people/me")
async def me(request: Request) -> Any:
    """Who is at the page; `administers` where the accounts are theirs to manage, `came_in` with a login."""
    said = await gateway_of(request).get("me")
    person = person_of(request)
    return {**said, "administers": person.administrator, "came_in": bool(person.name)}


@router.get("/people/users")
async def users(request: Request) -> Any:
    return await gateway_of(request).get("users")


@router.post("/people/users")
async def add(request: Request) -> Any:
    return await gateway_of(request).post("users", await _body(request))


@router.post("/people/users/{name}")
async def change(request: Request, name: str) -> Any:
    return await gateway_of(request).send("PATCH", _user(name), await _body(request))


@router.post("/people/users/{name}/remove")
async def remove(request: Request, name: str) -> Any:
    return await gateway_of(request).send("DELETE", _user(name))


@router.post("/people/users/{name}/password")
async def password(request: Request, name: str) -> Any:
    return await gateway_of(request).send("PUT", f"{_user(name)}/password", await _body(request))


@router.get("/people/users/{name}/tokens")
async def tokens(request: Request, name: str) -> Any:
    return await gateway_of(request).get(f"{_user(name)}/tokens")


@router.post("/people/users/{name}/tokens")
async def make_token(request: Request, name: str) -> Any:
    return await gateway_of(request).post(f"{_user(name)}/tokens", await _body(request))


@router.post("/people/users/{name}/tokens/{token}/revoke")
async def revoke(request: Request, name: str, token: str) -> Any:
    return await gateway_of(request).send("DELETE", f"{_user(name)}/tokens/{quote(token, safe='')}")


@router.get("/people/audit")
async def audit(request: Request, who: str = "", before: str = "") -> Any:
    query = {name: value for name, value in (("who", who), ("before", before)) if value}
    return await gateway_of(request).get("audit", limit=_MOST, **query)


def _user(name: str) -> str:
    if name in ("", ".", ".."):
        raise InvalidInput("There is no such account. Nothing was changed.")
    return f"users/{quote(name, safe='')}"


async def _body(request: Request) -> Any:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError:
        raise InvalidInput("The request is not JSON. Nothing was changed.") from None


def install(app: FastAPI) -> None:
    """Add the routes; `app.state` must have `gateway` and `token`."""
    app.include_router(router)
