"""A way to the store that loses one answer, and everything after it until it is mended."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit


class LossyStore:
    """Stands between a gateway and its store. The answer to the first request with `marker` in it is not passed on:
    the store has done what was asked, all connections are cut, and new ones fail until `mend`."""

    def __init__(self, url: str, folder: Path, marker: bytes) -> None:
        self._server = urlsplit(url).path
        self._path = folder / "lossy.sock"
        self.url = url.replace(self._server, str(self._path))
        self._marker = marker
        self._open: set[socket.socket] = set()
        self._listening: socket.socket | None = None
        self.lost = threading.Event()
        self.mend()

    def mend(self) -> None:
        """Let everything through."""
        self._path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._path))
        self._listening.listen()
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._open |= {client, server}
                marked = threading.Event()
                for work in (self._requests, self._answers):
                    threading.Thread(target=work, args=(client, server, marked), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self._marker in data and not self.lost.is_set():
                    marked.set()
                server.sendall(data)
        self._close(client, server)

    def _answers(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if marked.is_set() and not self.lost.is_set():
                    self.close()
                    self.lost.set()
                    return
                client.sendall(data)
        self._close(client, server)

    def close(self) -> None:
        """Cut everything."""
        assert self._listening is not None
        self._path.unlink(missing_ok=True)
        self._close(self._listening, *self._open)

    def _close(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            self._open.discard(each)
