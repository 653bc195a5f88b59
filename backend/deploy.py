"""Deploying a service: its description into the store, its queues' limits beside it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from backend.accounts.credentials import new_front_end_token
from backend.errors import InvalidArgument, NotFound
from backend.scaling import parse_autoscaler, parse_cronscaler, unknown_parts
from backend.service import Description
from backend.settings import Settings
from backend.storage import credentials
from backend.store import services
from backend.store.connection import Store


def scaling_warnings(description: Description) -> tuple[str, ...]:
    """What its `autoscaler` says that means nothing here.

    Raises:
        InvalidArgument: `autoscaler` or `cronscaler` contradicts itself.
    """
    parse_cronscaler(description.cronscaler)
    return unknown_parts(parse_autoscaler(description.autoscaler))


def storage_warnings(
    description: Description, settings: Settings, environment: Mapping[str, str]
) -> tuple[str, ...]:
    """Which object stores of its `storage[]` this machine has no credentials for."""
    elsewhere = "" if settings.launcher == "local" else ", unless the instances' machines have their own"
    found = []
    for place in filter(None, (each.object for each in description.storage)):
        try:
            lacking = credentials.find(place, settings.data_dir, environment) is None
            said = credentials.why_none(place) if lacking else ""
        except InvalidArgument as error:
            said = str(error)
        if said:
            found.append(f"storage: {said}. Until then its tasks fail before they begin{elsewhere}.")
    return tuple(dict.fromkeys(found))


def deploy(store: Store, description: Description) -> str:
    """Create a service, or replace the description of one that exists; its token.

    Its queues and tasks stay. A token in the description is taken; else the one it had, else a new one. The
    credential of its front ends is made with it.

    Raises:
        InvalidArgument: the description contradicts itself; nothing was changed.
    """
    scaling_warnings(description)
    try:
        had = store.run(services.get(description.name)).token
    except NotFound:
        had = ""
    token = description.token or had or secrets.token_urlsafe(24)
    front_end_token = new_front_end_token()
    store.run_all(
        services.save(description, token=token, front_end_token=front_end_token, created_at=time.time())
    )
    return token
