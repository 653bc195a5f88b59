"""The HTTP face of the app: a plain synchronous server, a thread for each query.

    POST /          a query
    POST /unload    give all memory back; 204 when that is done
    GET  /          200: ready
    GET  /status    {"loaded": […]}

An answer names in `X-Lorapool-Loaded` what is in memory; one with `X-Lorapool-Final` would be the same anywhere, so it
is not worth another attempt. While a query is drawn its thread tells the progress URL how far it is. That nobody wants
it any more it hears there, or sees by the connection having been closed, and then takes it off the device.
"""

from __future__ import annotations

import json
import logging
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backend import paths
from backend.errors import InvalidInput, LorapoolError, PathOutsideDataFolder, TooLarge
from backend.inference import delivery, drawing, pictures
from backend.inference.engine import Engine
from backend.inference.progress_line import NotWanted, ProgressLine
from backend.inference.request import parse
from backend.inference.ticket import Ticket
from backend.worker.app_request import (
    FINAL,
    JOB_DIR,
    LOAD_SECONDS,
    LOADED,
    PROGRESS_URL,
    REQUEST_ID,
    header_text,
)

log = logging.getLogger("lorapool.inference")

LARGEST = 32 << 20
_PROGRESS_EVERY = 0.25


class Cancelled(LorapoolError):
    """Nobody wants this query any more."""

    status = 499


class Server(ThreadingHTTPServer):
    """Serves until it is shut down."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, engine: Engine, data_dir: Path) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.engine, self.data_dir = engine, data_dir


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        if self.path == "/status":
            self._answer(200, json.dumps({"loaded": self.server.engine.loaded}).encode())
        else:
            self._answer(200, b"ok", "text/plain")

    def do_POST(self) -> None:
        if self.path.partition("?")[0] == "/unload":
            self.server.engine.unload()
            return self._answer(204, b"")
        try:
            said = self._drawn()
        except Cancelled as error:
            self._refuse(error.status, error)
        except InvalidInput as error:
            self._refuse(error.status, error, final=True)
        except (LorapoolError, OSError) as error:
            self._refuse(500, error)
        except Exception as error:
            log.exception("a query could not be answered")
            self._refuse(500, error)
        else:
            self._answer(200, json.dumps(said, ensure_ascii=False).encode())

    def _drawn(self) -> dict[str, Any]:
        began = time.monotonic()
        request = parse(self._body())
        ticket = self.server.engine.submit(request, secrets.randbelow(2**32))
        Companion(ticket, self.headers.get(PROGRESS_URL, ""), self._job_dir(), self._hung_up).stay()
        if ticket.error is not None:
            raise ticket.error
        seconds = time.monotonic() - began
        return delivery.answer(ticket, seconds, data_dir=self.server.data_dir, task=self._task())

    def _hung_up(self) -> bool:
        """Whether the caller has closed the connection."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise InvalidInput("a Content-Length is needed")
        if int(length) > LARGEST:
            self.close_connection = True
            raise TooLarge(f"the query has {length} bytes; up to {LARGEST} are taken")
        return self.rfile.read(int(length))

    def _job_dir(self) -> Path | None:
        """Where previews go; None without a folder of the data folder."""
        said = header_text(self.headers.get(JOB_DIR, ""))
        try:
            return paths.confined(self.server.data_dir, said) if said else None
        except PathOutsideDataFolder:
            return None

    def _task(self) -> str:
        folder = self._job_dir()
        name = folder.name if folder is not None else self.headers.get(REQUEST_ID, "")
        return name if name.replace("-", "").replace("_", "").isalnum() else secrets.token_hex(8)

    def _refuse(self, status: int, error: Exception, *, final: bool = False) -> None:
        more = {FINAL: "1"} if final else {}
        self._answer(status, json.dumps(delivery.problem(error), ensure_ascii=False).encode(), more=more)

    def _answer(
        self, status: int, body: bytes, kind: str = "application/json", more: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            LOADED: json.dumps(self.server.engine.loaded),
            LOAD_SECONDS: f"{self.server.engine.load_seconds:.3f}",
            **(more or {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        try:
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # whoever asked has gone
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Each query has its own record; what is worth a line is logged where it happens."""


class Companion:
    """Stays with a query until it is over, and passes on how far it is."""

    def __init__(self, ticket: Ticket, url: str, folder: Path | None, hung_up: Callable[[], bool]) -> None:
        self._ticket, self._folder, self._hung_up = ticket, folder, hung_up
        self._line = ProgressLine(url) if url else None
        self._said: tuple[str, int] | None = None
        self._shown = 0

    def stay(self) -> None:
        """Come back when it is over. Sleeps meanwhile: a thread that wakes at each step would hold up the drawing.

        Raises:
            Cancelled: nobody wants it any more; it is taken off the device.
        """
        ticket = self._ticket
        try:
            while not ticket.ended.wait(_PROGRESS_EVERY):
                if self._hung_up():
                    raise NotWanted
                with ticket.changed:
                    phase, step, steps, preview = ticket.phase, ticket.step, ticket.steps, ticket.preview
                if self._line is None:
                    continue
                self._speak(self._line, phase, step, steps)
                if preview is not None and preview[0] > self._shown and self._folder is not None:
                    self._show(self._line, self._folder, *preview)
        except NotWanted:
            ticket.set(cancelled=True)
            raise Cancelled("it was cancelled") from None
        finally:
            if self._line is not None:
                self._line.close()

    def _speak(self, line: ProgressLine, phase: str, step: int, steps: int) -> None:
        if self._said == (phase, step):
            return
        if self._said is None or self._said[0] != phase:
            line.say({"type": "phase", "name": phase})
        if steps:
            line.say({"step": step, "total": steps})
        self._said = (phase, step)

    def _show(self, line: ProgressLine, folder: Path, step: int, pixels: Any) -> None:
        self._shown = step
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"preview-{step:04d}.png"
        path.write_bytes(pictures.png(drawing.images(pixels)[0]))
        label = self._ticket.request.prompt[:500]
        line.say({"type": "file", "kind": "sample", "path": str(path), "step": step, "label": label})
