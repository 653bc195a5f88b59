"""The health check of containers, against a server that answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from backend.healthcheck import main


class Answers(BaseHTTPRequestHandler):
    """`said`: what each path is answered with; 503 without."""

    said: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        text = self.said.get(self.path)
        self.send_response(503 if text is None else 200)
        self.end_headers()
        self.wfile.write(text or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("LORAPOOL_ENDPOINT", url)
    yield url
    server.shutdown()
    server.server_close()


def test_it_asks_the_gateway_of_the_environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "said", {"/readyz": b'{"status": "ready", "supervisor": "none"}'})
    assert main([]) == 0
    assert main(["--leads"]) == 1
    monkeypatch.setattr(Answers, "said", {"/readyz": b'{"status": "ready", "supervisor": "leads"}'})
    assert main(["--leads"]) == 0


def test_or_what_it_is_told_to(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Answers, "said", {"/healthz": b""})
    assert main([f"{endpoint}/healthz"]) == 0
    assert main([f"{endpoint}/other"]) == 1
    assert "503" in capsys.readouterr().err
    assert main(["http://127.0.0.1:1/healthz"]) == 1
