"""Where an app reports how far a query is: a loopback port of the instance, one secret path for each query.

POST <url>    {"step": 3, "total": 20}                          what `records` knows; `type` is progress by default
204           it was taken
400           it is no record
410           nobody wants this query any more: the app may stop working on it
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from backend import records
from backend.errors import StaleAttempt, StoreUnavailable
from backend.records import Record
from backend.worker.ports import HOST

_LARGEST = 64 << 10
_SECONDS = 10.0

Hear = Callable[[Record], None]
"""Takes a record; raises StaleAttempt when the query is over."""


class ProgressServer:
    """Serves until the process ends. `open` and `close` may be called from any thread."""

    def __init__(self) -> None:
        self._ears: dict[str, Hear] = {}
        server = self

        class Handler(_Handler):
            ears = server._ears

        self._http = ThreadingHTTPServer((HOST, 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, name="progress", daemon=True).start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._http.server_port

    def open(self, hear: Hear) -> str:
        """A URL for one query."""
        word = secrets.token_urlsafe(18)
        self._ears[word] = hear
        return f"http://{HOST}:{self._http.server_address[1]}/{word}"

    def close(self, url: str) -> None:
        """The query is over: what comes for it now is answered with 410."""
        self._ears.pop(url.rpartition("/")[2], None)


class _Handler(BaseHTTPRequestHandler):
    ears: dict[str, Hear]
    timeout = _SECONDS
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.send_response(self._take())
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _take(self) -> int:
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > _LARGEST:
            self.close_connection = True  # what it would say next is still the body of this one
            return 400
        record = _record(self.rfile.read(int(size)))
        hear = self.ears.get(self.path.strip("/"))
        if hear is None:
            return 410
        if record is None:
            return 400
        try:
            hear(record)
        except StaleAttempt:
            return 410
        except StoreUnavailable:
            return 503
        return 204

    def log_message(self, format: str, *args: Any) -> None:
        """The log of an instance has better things to say."""


def _record(body: bytes) -> Record | None:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return records.from_dict({"type": "progress", **values}) if isinstance(values, dict) else None
