"""A port that leads to the socket of a test's store, as other machines reach one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from typing import Any
from urllib.parse import unquote, urlsplit


class Door(socketserver.ThreadingTCPServer):
    """Leads to the store of `url`, over TLS where it has a `certificate` and its key."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, url: str, certificate: tuple[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self.path, password = unquote(parts.path), parts.password
        self.trust: ssl.SSLContext | None = None
        if certificate is not None:
            self.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.trust.load_cert_chain(*certificate)
        super().__init__(("127.0.0.1", 0), _Passage)
        scheme = "redis" if certificate is None else "rediss"
        self.url = f"{scheme}://:{password}@127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection; whoever does not believe us goes away."""
        with contextlib.suppress(OSError):
            if self.trust is None:
                super().finish_request(request, client_address)
            else:
                with self.trust.wrap_socket(request, server_side=True) as wrapped:
                    super().finish_request(wrapped, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever is cut off knows it."""


class _Passage(socketserver.BaseRequestHandler):
    server: Door

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as store:
            store.connect(self.server.path)
            back = threading.Thread(target=_copy, args=(store, self.request), daemon=True)
            back.start()
            _copy(self.request, store)
            back.join(5)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
