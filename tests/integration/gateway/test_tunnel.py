"""The store through the gateway's port: what a box without any other way to it has."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from backend.errors import StoreUnavailable
from backend.gateway import tunnel
from backend.store import instances
from backend.store.call import command
from backend.store.connection import Store
from backend.worker import relay
from backend.worker.relay import Relay
from tests.support.gateway_box import TOKEN, Box, eventually


@pytest.fixture
def store(box: Box, tmp_path: Path) -> Iterator[Store]:
    """The store of the box, reached as from another machine."""
    far = Relay(box.url, TOKEN, tmp_path / "s")
    far.start()
    store = Store(far.url)
    try:
        yield store
    finally:
        store.close()
        far.close()


def test_both_ends_mean_the_same_path() -> None:
    assert tunnel.PATH == relay.PATH


def test_commands_and_scripts_go_through(store: Store) -> None:
    large = "x" * 3_000_000
    store.run(command("SET", "large", large))
    assert store.run(command("GET", "large")) == large.encode()
    assert store.run(instances.present()) == []


def test_a_subscription_goes_through(store: Store) -> None:
    with store.listen("channel") as messages:
        assert eventually(lambda: store.run(command("PUBLISH", "channel", "word")))
        assert eventually(lambda: messages.get_message(timeout=1.0))["data"] == b"word"


def test_a_blocking_pop_goes_through(store: Store) -> None:
    later = threading.Timer(0.2, lambda: store.run(command("LPUSH", "list", "item")))
    later.start()
    assert store.run(command("BLMOVE", "list", "other", "LEFT", "RIGHT", 5)) == b"item"
    later.join()


def test_the_socket_is_this_user_s_alone(store: Store) -> None:
    path = Path(store.url.removeprefix("unix://"))
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 401)])
def test_nobody_else_is_let_in(box: Box, token: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        connect(f"ws{box.url.removeprefix('http')}{tunnel.PATH}", additional_headers={"Authorization": token})
    assert refusal.value.response.status_code == status


def test_a_service_s_token_is_not_enough(box: Box, name: str) -> None:
    description = {"metadata": {"name": name, "type": "ScalableJob"}, "token": "the-service-s-own"}
    httpx.post(
        f"{box.url}/api/v1/services", json=description, headers={"Authorization": TOKEN}
    ).raise_for_status()
    with pytest.raises(InvalidStatus) as refusal:
        connect(
            f"ws{box.url.removeprefix('http')}{tunnel.PATH}",
            additional_headers={"Authorization": "the-service-s-own"},
        )
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("gone_before", ["its answer", "its first word"])
def test_a_box_that_leaves_in_its_handshake_leaves_no_connection_to_the_store(
    box: Box, gone_before: str
) -> None:
    """The gateway's side: an open connection would be a warning, and so an error."""

    async def caller(*_: object) -> SimpleNamespace:
        return SimpleNamespace(need_administrator=lambda: None)

    gateway: Any = SimpleNamespace(
        store=SimpleNamespace(url=box.store_url), authority=SimpleNamespace(caller=caller)
    )
    messages = iter([{"type": "websocket.connect"}])

    async def receive() -> Any:
        return next(messages, {"type": "websocket.disconnect", "code": 1006})

    async def send(message: Any) -> None:
        if message["type"] != "websocket.accept" or gone_before == "its answer":
            raise OSError("it has gone")

    scope: Any = {"type": "websocket", "path": tunnel.PATH, "headers": [], "query_string": b""}
    asyncio.run(tunnel.serve_store(gateway, scope, receive, send))
    del gateway
    gc.collect()


@pytest.mark.parametrize("leave_first", [True, False])
def test_a_relay_that_is_closed_leaves_no_connection_behind(
    box: Box, tmp_path: Path, leave_first: bool
) -> None:
    """Also of clients that come or go in that moment; an open socket would be a warning, and so an error."""
    for attempt in range(40):
        far = Relay(box.url, TOKEN, tmp_path / f"s{attempt}")
        far.start()
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for client in clients:
            client.connect(far.url.removeprefix("unix://"))
            client.send(b"PING\r\n")
        clients[0].recv(1)
        if leave_first:
            for client in clients[1:]:
                client.recv(1)
            for client in clients:
                client.close()
            time.sleep(attempt % 10 / 4000)
        far.close()
        for client in clients:
            client.close()
    del far
    gc.collect()


def test_a_gateway_that_comes_back_is_found_again(own_box: Box, tmp_path: Path) -> None:
    far = Relay(own_box.url, TOKEN, tmp_path / "s")
    far.start()
    store = Store(far.url)
    try:
        store.run(command("PING"))
        own_box.stop_gateway(signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            store.run(command("PING"))
        own_box.start_gateway()
        assert store.run(command("SET", "a", "b"))
    finally:
        store.close()
        far.close()
