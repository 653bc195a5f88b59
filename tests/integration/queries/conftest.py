from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.box import PATIENCE, Box, free_port, until

APP = Path(__file__).with_name("app.py")


@dataclass
class Pictures:
    """A service whose app is `app.py`; `book` is what that app was asked."""

    box: Box
    http: httpx.Client
    name: str
    book_file: Path
    port: int = field(default_factory=free_port)

    def put(self, path: str, data: bytes = b"", **tags: str) -> tuple[int, str]:
        """Index and request id."""
        url = f"/api/predict/{self.name}" + (f"/{path}" if path else "")
        answer = self.http.post(url, params={"taskType": "query", **tags}, content=data)
        assert answer.status_code == 200, answer.text
        return int(answer.text), answer.headers["X-Eas-Queueservice-Request-Id"]

    def item(self, request: str = "", seconds: float = PATIENCE) -> tuple[bytes, Mapping[str, str]] | None:
        """The answer to a request (or any), taken out of the output queue; None when there is none in time."""
        wanted = {"requestId": request} if request else {}
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, min(20.0, deadline - time.monotonic()))
            found = self.http.get(
                f"/api/predict/{self.name}/sink",
                params={
                    **{**wanted, "_raw_": "false", "_auto_delete_": "true"},
                    "_timeout_": f"{left:.3f}s",
                },
            )
            if found.status_code == 200 and found.json():
                item = found.json()[0]
                return base64.b64decode(item.get("data", "")), item["tags"]
            if time.monotonic() >= deadline:
                return None

    def answer(self, path: str, data: bytes = b"", **tags: str) -> tuple[bytes, Mapping[str, str]]:
        """Put a query and wait for its answer."""
        found = self.item(self.put(path, data, **tags)[1])
        assert found is not None, f"no answer to {path}"
        return found

    def book(self) -> list[dict[str, Any]]:
        text = self.book_file.read_text() if self.book_file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def asked(self, request: str) -> list[dict[str, Any]]:
        """The deliveries of one request, as the app saw them."""
        return [entry for entry in self.book() if entry.get("request") == request]

    def task(self, index: int) -> dict[str, Any]:
        listed = self.http.get("/api/v1/tasks", params={"service": self.name, "limit": 500}).json()["tasks"]
        found: dict[str, Any] = next(task for task in listed if task["index"] == index)
        return found

    def state(self, index: int) -> str:
        return str(self.task(index)["state"])

    def instances(self) -> list[dict[str, Any]]:
        found = self.http.get("/api/v1/instances").json()["instances"]
        return [instance for instance in found if instance["service"] == self.name]

    def ready(self, count: int) -> None:
        until(
            lambda: sum(i["state"] in ("idle", "busy") for i in self.instances()) >= count,
            f"{count} instances of {self.name} are ready: {self.instances()}",
        )

    def deploy(
        self,
        *,
        instances: int = 1,
        slots: int = 1,
        command: str = "",
        app: bool = True,
        **parts: Any,
    ) -> Pictures:
        """Create or update the service; without `app` it can run commands alone."""
        description: dict[str, Any] = {
            "metadata": {"name": self.name, "type": "ScalableJob", "rpc": {"worker_threads": slots}},
            "containers": [
                {
                    "command": command or f"{sys.executable} {APP} {self.book_file}",
                    "port": self.port,
                }
            ],
            "autoscaler": {"min": instances, "max": instances, "strategies": {"avg_waiting_length": 2}},
        }
        for part, value in parts.items():
            into = description["metadata"] if part == "rpc" else description
            into[part] = {**into.get(part, {}), **value}
        if not app:
            del description["containers"]
        answer = self.http.post("/api/v1/services", json=description)
        assert answer.status_code < 300, answer.text
        return self


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    running = Box(tmp_path_factory.mktemp("queries") / "data").start()
    try:
        yield running
    finally:
        running.stop()
    until(lambda: not running.processes(), f"no process is left: {running.processes()}", 10.0)


@pytest.fixture(scope="module")
def http(box: Box) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=box.endpoint, headers={"Authorization": box.token}, timeout=30.0) as client:
        yield client
