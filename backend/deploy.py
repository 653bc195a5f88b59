"""Deploying a service: its description into the store, its queues' limits beside it."""

from __future__ import annotations

import secrets
import time

from backend.errors import NotFound
from backend.scaling import parse_autoscaler, parse_cronscaler, unknown_parts
from backend.service import Description
from backend.store import services
from backend.store.connection import Store


def scaling_warnings(description: Description) -> tuple[str, ...]:
    """What its `autoscaler` says that means nothing here.

    Raises:
        InvalidArgument: `autoscaler` or `cronscaler` contradicts itself.
    """
    parse_cronscaler(description.cronscaler)
    return unknown_parts(parse_autoscaler(description.autoscaler))


def deploy(store: Store, description: Description) -> str:
    """Create a service, or replace the description of one that exists; its token.

    Its queues and tasks stay. A token in the description is taken; else the one it had, else a new one.

    Raises:
        InvalidArgument: the description contradicts itself; nothing was changed.
    """
    scaling_warnings(description)
    try:
        had = store.run(services.get(description.name)).token
    except NotFound:
        had = ""
    token = description.token or had or secrets.token_urlsafe(24)
    store.run_all(services.save(description, token=token, created_at=time.time()))
    return token
