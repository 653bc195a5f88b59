"""What a client says of an address at which something answers that is no gateway."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from backend.client import Client
from backend.client.connection import GatewayUnavailable


class Stranger(BaseHTTPRequestHandler):
    """A web page of another program: 200 for services, 404 for the rest."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path.endswith("/services") else 404)
        self.end_headers()
        self.wfile.write(b"<h1>It works!</h1>")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_another_program_at_the_port_is_told_from_a_gateway(stranger: str) -> None:
    with Client(stranger, "token") as client:
        with pytest.raises(GatewayUnavailable, match=f"what answers at {stranger} is no gateway of lorapool"):
            client.services()
        with pytest.raises(GatewayUnavailable, match="status 404"):
            client.tasks()
