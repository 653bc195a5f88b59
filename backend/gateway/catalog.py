"""Deployed services as the gateway knows them: read once, read again when one changes."""

from __future__ import annotations

import contextlib
import time

from backend.accounts import credentials
from backend.errors import InvalidArgument, NotFound, StoreUnavailable
from backend.gateway.hub import Hub
from backend.queue import limits
from backend.service import Description
from backend.store import services
from backend.store.connection import AsyncStore
from backend.store.services import Deployed

KEPT = 5.0
"""Seconds after which a service is read again although nobody said that it changed."""


class Catalog:
    """A cache of service records, which also keeps the limits of their queues as their descriptions say, and gives
    those of an older lorapool the credential of their front ends."""

    def __init__(self, store: AsyncStore, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._known: dict[str, tuple[float, Deployed]] = {}
        self._configured: dict[str, Description] = {}

    async def get(self, name: str) -> Deployed:
        """A service; raises NotFound."""
        found = self._known.get(name)
        if found is not None and time.monotonic() - found[0] < KEPT and self._hub.connected.is_set():
            return found[1]
        self._known.pop(name, None)
        deployed = await self._store.run(services.get(name))
        if self._configured.get(name) != deployed.description:
            await self._store.run_all(limits.calls(deployed.description))
            self._configured[name] = deployed.description
        if not deployed.front_end_token:
            await self._store.run_all(services.keep_front_end_token(name, credentials.new_front_end_token()))
            deployed = await self._store.run(services.get(name))
        self._known[name] = (time.monotonic(), deployed)
        return deployed

    async def all(self) -> list[Deployed]:
        """Every service, by name."""
        found = []
        for name in await self._store.run(services.names()):
            try:
                found.append(await self.get(name))
            except NotFound:
                continue
        return found

    def forget(self, name: str) -> None:
        """Read this one again at the next use."""
        self._known.pop(name, None)

    async def _complete(self) -> bool:
        """See that every service has all that a service has; False when this has to be done again."""
        try:
            for name in await self._store.run(services.names()):
                with contextlib.suppress(NotFound, InvalidArgument):
                    await self.get(name)
        except StoreUnavailable:
            return False
        return True

    async def follow(self) -> None:
        """Forget what changes, for as long as the gateway runs, and read it again."""
        with self._hub.changes() as changes:
            complete = False
            while not self._hub.stopping:
                complete = complete or await self._complete()
                await changes.wait(3600.0 if complete else KEPT)
                for kind, name, _ in changes.seen:
                    if kind == "service":
                        self.forget(name)
                        self._configured.pop(name, None)
                        complete = False
                changes.seen.clear()
