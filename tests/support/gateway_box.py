"""A store and a gateway of their own, as real processes on a free port, for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from backend.client import Client
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore

TOKEN = "administrator-token"
DEADLINE = 90.0

_RUN = """
import sys
from backend.gateway.app import serve
from backend.settings import Settings
serve(Settings(), silence=float(sys.argv[1]))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """The first true answer of `condition`; fails after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


class Box:
    """Start it with `start`; `close` leaves no process behind."""

    def __init__(self, data_dir: Path, *, silence: float = 20.0) -> None:
        self.data_dir = data_dir
        self.store_server = EmbeddedStore(data_dir)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.silence = silence
        self.store_url = self.store_server.url
        self.gateway: subprocess.Popen[bytes] | None = None
        self.log = data_dir / "gateway.log"

    def start(self) -> Box:
        self.store_server.start()
        self.start_gateway()
        return self

    def start_gateway(self) -> None:
        environment = {
            **os.environ,
            "LORAPOOL_DATA_DIR": str(self.data_dir),
            "LORAPOOL_TOKEN": TOKEN,
            "LORAPOOL_PORT": str(self.port),
            "REDIS_URL": self.store_url,
            "SD_SCRIPTS_DIR": "",
        }
        with self.log.open("ab") as log:
            self.gateway = subprocess.Popen(
                [sys.executable, "-c", _RUN, str(self.silence)], env=environment, stdout=log, stderr=log
            )
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self.gateway is not None and self.gateway.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5.0).status_code == 200
        except httpx.TransportError:
            return False

    def stop_gateway(self, sig: signal.Signals = signal.SIGTERM) -> float:
        """Seconds that it took to end."""
        assert self.gateway is not None
        began = time.monotonic()
        self.gateway.send_signal(sig)
        self.gateway.wait(DEADLINE)
        return time.monotonic() - began

    def kill_store(self) -> None:
        assert self.store_server.process is not None
        self.store_server.process.kill()
        self.store_server.process.wait()

    def start_store(self) -> None:
        self.store_server.start()

    def store(self) -> Store:
        return Store(self.store_server.url)

    def client(self, token: str = TOKEN) -> Client:
        return Client(self.url, token)

    def http(self, token: str = TOKEN, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": token, **headers}, timeout=20.0)

    def create(self, name: str, kind: str = "Queue", **more: Any) -> str:
        """Deploy a service; its token."""
        with self.client() as client:
            view = client.create_service({"metadata": {"name": name, "type": kind}, **more})
        assert view.token
        return view.token

    def close(self) -> None:
        if self.gateway is not None and self.gateway.poll() is None:
            self.gateway.kill()
            self.gateway.wait()
        self.store_server.stop()
