"""The control API about whose the files of the data folder are, and the audit log.

A front end reads the data folder itself, and asks here what its people may do there.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from backend.accounts import Caller, Role, ownership, valid_name
from backend.errors import Conflict, Forbidden, InvalidArgument
from backend.gateway.answers import json_answer
from backend.gateway.context import CallerHere, GatewayHere
from backend.gateway.permits import relative
from backend.store import accounts, audit
from backend.views import AccessView, AuditList, as_json

router = APIRouter(tags=["users"])

_PATH = Annotated[str, Field(max_length=4096)]


class Paths(BaseModel):
    """Paths of the data folder, relative to it."""

    model_config = ConfigDict(extra="forbid")

    paths: list[_PATH] = Field(max_length=10_000)


class Ownership(BaseModel):
    """Whose a data set (`datasets/<name>`) or a LoRA (`loras/<name>`) is to be; empty: everybody's."""

    model_config = ConfigDict(extra="forbid")

    place: _PATH
    owner: str = Field(default="", max_length=64)
    claim: bool = Field(default=False, description="only if it is nobody's, or that owner's already")


@router.post("/access", response_model=AccessView)
async def get_access(body: Paths, gateway: GatewayHere, caller: CallerHere) -> Response:
    """What the caller may do with paths of the data folder. What lies outside is nobody's: `none`."""
    found = await asyncio.to_thread(
        lambda: {path: relative(gateway.settings.data_dir, path) for path in body.paths}
    )
    places = sorted({place for real in found.values() if real and (place := ownership.place(real))})
    owners = await gateway.store.run(accounts.owners(places)) if places else {}
    access = {path: _may(caller, real, owners) for path, real in found.items()}
    known = {
        path: owner
        for path, real in found.items()
        if access[path] != "none" and (owner := owners.get(ownership.place(real or ""), ""))
    }
    return json_answer(as_json(AccessView(dict(access), known)))


def _may(caller: Caller, path: str | None, owners: ownership.Owners) -> Literal["change", "read", "none"]:
    if path is None:
        return "none"
    if ownership.may_change(caller, path, owners):
        return "change"
    return "read" if ownership.may_read(caller, path, owners) else "none"


@router.put("/owners", response_model=AccessView)
async def set_owner(body: Ownership, request: Request, gateway: GatewayHere, caller: CallerHere) -> Response:
    """Say whose a data set or a LoRA is. Administrators may give and take; a service's token only what is nobody's;
    an account may give its own to everybody.
    """
    place = ownership.place(body.place)
    if place != body.place or place.split("/")[0] not in ownership.SHARED:
        raise InvalidArgument("place", "is `datasets/<name>` or `loras/<name>`; nothing was changed")
    if body.owner and not valid_name(body.owner):
        raise InvalidArgument("owner", "is no name of an account; nothing was changed")
    request.state.audited = f"{place} {body.owner}".strip()
    store = gateway.store
    if caller.administrator and not body.claim:
        await store.run(accounts.give(place, body.owner))
    elif caller.role is Role.ADMIN and body.owner:
        if not await store.run(accounts.claim(place, body.owner)):
            now = (await store.run(accounts.owners([place]))).get(place)
            if now != body.owner:
                raise Conflict(
                    f"{place} is another user's already; nothing was changed. Choose another name."
                )
    else:
        owners = await store.run(accounts.owners([place]))
        if body.owner or not caller.user or not ownership.may_change(caller, place, owners):
            raise Forbidden(f"{place} is not yours to give away; nothing was changed")
        await store.run(accounts.give(place, ""))
    owner = {place: body.owner} if body.owner else {}
    return json_answer(as_json(AccessView({place: _may(caller, place, owner)}, owner)))


@router.get("/audit", response_model=AuditList)
async def list_audit(
    gateway: GatewayHere,
    caller: CallerHere,
    who: Annotated[str, Query(description="only of this account", max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[str, Query(pattern=r"^(\d{1,16}-\d{1,16})?$", description="only older entries")] = "",
) -> Response:
    """Who did what, when, to what and from where; newest first."""
    caller.need_administrator()
    found: list[dict[str, object]] = []
    last = before
    while len(found) < limit:
        page = await gateway.store.run(audit.newest(_PAGE, last))
        found += [entry for entry in page if not who or entry["who"] == who]
        last = str(page[-1]["id"]) if page else ""
        if len(page) < _PAGE:
            break
    more = len(found) > limit or (bool(last) and len(found) == limit)
    found = found[:limit]
    entries = [{**entry, "at": int(str(entry["id"]).partition("-")[0]) / 1000} for entry in found]
    return json_answer(as_json(AuditList(entries, str(found[-1]["id"]) if more and found else None)))  # type: ignore[arg-type]


_PAGE = 500
