"""One request to the app of an instance: sent as it came, answered in time, cut off when nobody wants it any more.

The standard library's client is enough for one host, and its socket can be shut down by another thread, which is how
a cancelled query lets go of the app at once.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlencode

from backend.task import Task
from backend.worker import ports

CONNECT_SECONDS = 5.0
REQUEST_TIMEOUT, TOO_LARGE, BAD_GATEWAY = 408, 413, 502

REQUEST_ID = "X-EAS-QueueService-Request-Id"
INDEX = "X-EAS-QueueService-Index"
DELIVERY = "X-EAS-QueueService-Delivery"
PROGRESS_URL = "X-Lorapool-Progress-Url"
JOB_DIR = "X-Lorapool-Job-Dir"
LOADED = "X-Lorapool-Loaded"
"""Of an answer: a JSON list of the models that the app has in memory."""
LOAD_SECONDS = "X-Lorapool-Load-Seconds"
"""Of an answer: how long the app took to load the last model that it did not have."""
FINAL = "X-Lorapool-Final"
"""Of an answer other than 2xx: another attempt would end the same way."""

_MOST_LOADED, _LONGEST_NAME = 200, 500
_LONGEST_LOAD = 3600.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `status` is the app's, or ours where it gave none; `reason` is empty after a 2xx.

    `refused`: the app did not even take the connection. `final`: another attempt would end the same way. `loaded`:
    the models that the app says it has in memory, None when it does not say; `load_seconds` how long one takes to load.
    """

    status: int
    body: bytes = b""
    reason: str = ""
    refused: bool = False
    final: bool = False
    loaded: tuple[str, ...] | None = None
    load_seconds: float | None = None

    @property
    def good(self) -> bool:
        return not self.reason


def target(task: Task, proxy_path: str) -> str:
    """Path and query of a request: the task's path behind the service name, as it came; its tags as the query."""
    path = "/" + (task.path or proxy_path).lstrip("/")
    return quote(path, safe="/:@!$&'()*+,;=-._~%") + ("?" + urlencode(task.tags) if task.tags else "")


def headers(task: Task, own: Mapping[str, str]) -> dict[str, bytes]:
    """The headers of a request, in UTF-8; what a header cannot carry (a line's end) is a question mark in it."""
    content_type = task.details.get("content_type")
    texts = {
        "Content-Type": content_type if isinstance(content_type, str) else "application/octet-stream",
        REQUEST_ID: task.request_id,
        INDEX: str(task.index),
        DELIVERY: str(task.attempt),
        **own,
    }
    return {name: _CONTROL.sub("?", text).strip().encode("utf-8", "replace") for name, text in texts.items()}


def header_text(received: str) -> str:
    """What `headers` was given, from a header as Python's servers hand it on, in Latin-1."""
    return received.encode("latin-1", "replace").decode("utf-8", "replace")


class AppRequest:
    """One request. One thread calls `send`; any thread may call `cut`.

    Args:
        seconds: how long the app may take for its whole answer.
        largest: bytes that an answer may have.
    """

    def __init__(self, port: int, *, seconds: float, largest: int) -> None:
        self._port = port
        self._connection = http.client.HTTPConnection(ports.HOST, port)
        self._seconds = min(seconds, threading.TIMEOUT_MAX)
        self._largest = largest
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False
        self._late = False

    def cut(self) -> None:
        """Let go of the app: `send` comes back at once."""
        with self._lock:
            self._cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, path: str, body: bytes, own_headers: Mapping[str, str | bytes]) -> Reply:
        """POST the request and wait for its answer, whatever comes of it."""
        timer = threading.Timer(self._seconds, self._expire)
        timer.daemon = True
        try:
            self._connect()
            timer.start()
            return self._exchange(path, body, own_headers)
        except _Refused as error:
            return Reply(BAD_GATEWAY, reason=f"the app took no connection ({error})", refused=True)
        except (OSError, http.client.HTTPException) as error:
            return self._broken(error)
        finally:
            timer.cancel()
            with self._lock:
                self._socket = None
            self._connection.close()

    def _connect(self) -> None:
        try:
            connected = ports.connect(self._port, CONNECT_SECONDS)
        except OSError as error:
            raise _Refused(error.strerror or str(error)) from None
        connected.settimeout(None)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._socket = self._connection.sock = connected
        if self._cut:
            self.cut()

    def _exchange(self, path: str, body: bytes, own_headers: Mapping[str, str | bytes]) -> Reply:
        # An app may answer and close before it has read everything: its answer counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request("POST", path, body, dict(own_headers))
        with _past_interim(self._connection.getresponse()) as response:
            return self._read(response)

    def _read(self, response: http.client.HTTPResponse) -> Reply:
        data = response.read(self._largest + 1)
        if len(data) > self._largest:
            return Reply(
                TOO_LARGE,
                reason=f"the app's answer is larger than the {self._largest} bytes that the output queue takes; "
                "return the path of a file instead, or raise queue.sink.max_payload_size_kb",
            )
        if response.length:
            raise http.client.IncompleteRead(data, response.length)
        loaded = _loaded(response.headers.get(LOADED, ""))
        seconds = _seconds(response.headers.get(LOAD_SECONDS, ""))
        if 200 <= response.status < 300:
            return Reply(response.status, data, loaded=loaded, load_seconds=seconds)
        final = bool(response.headers.get(FINAL))
        return Reply(
            response.status,
            data,
            reason_of(response.status, data, final=final),
            final=final,
            loaded=loaded,
            load_seconds=seconds,
        )

    def _expire(self) -> None:
        self._late = True
        self.cut()

    def _broken(self, error: Exception) -> Reply:
        if self._late:
            limit = f"{self._seconds:g} s"
            return Reply(REQUEST_TIMEOUT, reason=f"the app did not answer within {limit} (rpc.keepalive)")
        if isinstance(error, http.client.IncompleteRead):
            return Reply(BAD_GATEWAY, reason="the app closed the connection in the middle of its answer")
        if isinstance(error, OSError):  # RemoteDisconnected is one, too
            return Reply(BAD_GATEWAY, reason="the app closed the connection before its answer")
        if isinstance(error, http.client.BadStatusLine | http.client.UnknownProtocol):
            return Reply(BAD_GATEWAY, reason="the app's answer is no HTTP/1")
        return Reply(BAD_GATEWAY, reason=f"the app's answer cannot be read: {error}")


def _past_interim(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    """The answer itself, behind hints that it is on its way (102, 103); the library skips 100 alone."""
    while response.status in (102, 103):
        rest = _Rest(response.fp)
        response.fp = None  # type: ignore[assignment]  # it is the next one's to close
        following = http.client.HTTPResponse(cast(socket.socket, rest), method="POST")
        following.begin()
        response = following
    return response


class _Rest:
    """What is left of a connection, in the one way that the library asks a socket for it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def makefile(self, mode: str) -> Any:
        return self._stream


def reason_of(status: int, body: bytes, *, final: bool) -> str:
    """Why it failed, in one line. What an app says of a query that is wrong needs no words about the app."""
    said = _detail(body)
    return said if said and final else f"the app answered {status}{f': {said}' if said else ''}"


def _detail(body: bytes) -> str:
    """What the app says of its failure, in one line: the message of an error in JSON, else its first line."""
    try:
        values = json.loads(body)
        message = values["message"] if isinstance(values["message"], str) else ""
        field = values.get("field")
        return f"{field}: {message}" if isinstance(field, str) else message
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        said = body.decode("utf-8", "replace").strip().splitlines()
        return said[0][:300] if said else ""


def _loaded(text: str) -> tuple[str, ...] | None:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(names, list):
        return None
    return tuple(n for n in names if isinstance(n, str) and len(n) <= _LONGEST_NAME)[:_MOST_LOADED]


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds < _LONGEST_LOAD else None


class _Refused(Exception):
    """The connection was not taken."""
