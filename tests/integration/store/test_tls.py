"""A store behind TLS (`rediss://`), whose certificate an authority of one's own has signed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.errors import StoreUnavailable
from backend.store.call import command
from backend.store.connection import AsyncStore, Store
from backend.store.multiplex import MultiplexedStore
from tests.support.cluster.cluster import make_certificate
from tests.support.door import Door
from tests.support.store_world import World


@pytest.fixture
def door(world: World, tmp_path: Path) -> Iterator[Door]:
    door = Door(world.store.url, make_certificate(tmp_path))
    yield door
    door.shutdown()
    door.server_close()


async def ping(kind: type[AsyncStore], url: str) -> object:
    store = kind(url)
    try:
        return await store.run(command("PING"))
    finally:
        await store.close()


def test_the_address_names_the_authority(door: Door, tmp_path: Path) -> None:
    url = f"{door.url}?ssl_ca_certs={tmp_path / 'ca.pem'}"
    for kind in (AsyncStore, MultiplexedStore):
        assert asyncio.run(ping(kind, url)) in (b"PONG", True)
    store = Store(url)
    assert store.run(command("PING")) in (b"PONG", True)
    store.close()


@pytest.mark.parametrize("kind", [AsyncStore, MultiplexedStore])
def test_a_certificate_that_nobody_vouches_for_is_not_believed(door: Door, kind: type[AsyncStore]) -> None:
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        asyncio.run(ping(kind, door.url))
