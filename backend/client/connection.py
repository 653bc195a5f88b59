"""Talking HTTP to a gateway that may be away for a moment."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from backend import errors
from backend.errors import InvalidArgument, LorapoolError

RECONNECT = 30.0
"""Seconds that the gateway may stay away in the middle of a stream or of a repeatable request."""

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_STREAM = httpx.Timeout(30.0, connect=5.0, read=35.0)  # the gateway pings every ten seconds
_PAUSE = 0.25
_AWAY = (httpx.TransportError, httpx.StreamError)


class GatewayUnavailable(LorapoolError):
    """The gateway does not answer; what it has acknowledged is safe."""

    status = 503


class Connection:
    """HTTP to a gateway with one token. Safe to share between threads."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self.endpoint = (endpoint or os.environ.get("LORAPOOL_ENDPOINT") or "http://127.0.0.1:8000").rstrip(
            "/"
        )
        given = token if token is not None else os.environ.get("LORAPOOL_TOKEN", "")
        self._http = httpx.Client(
            base_url=f"{self.endpoint}/api/v1/", headers={"Authorization": given}, timeout=_TIMEOUT
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fetch(self, link: str) -> bytes:
        """The bytes behind a link of an answer."""
        deadline = time.monotonic() + RECONNECT
        while True:
            try:
                response = self._http.get(f"{self.endpoint}{link}")
                if response.status_code == 200:
                    return response.content
                _answer(response)
            except _AWAY as error:
                if time.monotonic() > deadline:
                    raise _away(self.endpoint, error) from None
            time.sleep(_PAUSE)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """A JSON answer of the control API; waits out a gateway that is away for a moment."""
        return self._request("GET", path, query=query, repeat=True)

    def post(self, path: str, body: Any = None, *, repeat: bool = False) -> Any:
        """A change. With `repeat` it may be sent again after a broken connection."""
        return self._request("POST", path, body=body, repeat=repeat)

    def put(self, path: str, body: Any) -> Any:
        """Replace something; may be sent again after a broken connection."""
        return self._request("PUT", path, body=body, repeat=True)

    def patch(self, path: str, body: Any) -> Any:
        """Change parts of something; may be sent again after a broken connection."""
        return self._request("PATCH", path, body=body, repeat=True)

    def delete(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Remove something."""
        return self._request("DELETE", path, query=query, repeat=False)

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        repeat: bool,
    ) -> Any:
        params = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        deadline = time.monotonic() + RECONNECT
        while True:
            try:
                response = self._http.request(method, path, params=params, json=body)
            except _AWAY as error:
                if not repeat or time.monotonic() > deadline:
                    raise _away(self.endpoint, error) from None
            else:
                if response.status_code != 503 or not repeat or time.monotonic() > deadline:
                    return _answer(response)
            time.sleep(_PAUSE)

    def stream(self, path: str, query: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
        """Server-sent events as (name, data, id); connects again where it was, until the server says `end`."""
        last, heard = "", time.monotonic()
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with self._http.stream(
                    "GET", path, params=query, headers=headers, timeout=_STREAM
                ) as response:
                    if response.status_code != 503:
                        if response.status_code != 200:
                            response.read()
                            _answer(response)
                        for name, data, cursor in server_sent(response.iter_lines(), last):
                            heard, last = time.monotonic(), cursor
                            yield name, data, last
                            if name == "end":
                                return
                        heard = time.monotonic()
            except _AWAY as error:
                if time.monotonic() - heard > RECONNECT:
                    raise _away(self.endpoint, error) from None
            if time.monotonic() - heard > RECONNECT:
                raise _away(self.endpoint, "it refuses to stream")
            time.sleep(_PAUSE)

    def download(self, path: str, to: Path) -> Path:
        """Write an answer's bytes to a file; the file appears whole or not at all."""
        part = to.with_name(to.name + ".part")
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._http.stream("GET", path) as response, part.open("wb") as file:
                if response.status_code != 200:
                    response.read()
                    _answer(response)
                for chunk in response.iter_bytes():
                    file.write(chunk)
            part.replace(to)
        except _AWAY as error:
            raise _away(self.endpoint, error) from None
        finally:
            part.unlink(missing_ok=True)
        return to


def server_sent(lines: Iterator[str], last: str) -> Iterator[tuple[str, Any, str]]:
    """Server-sent events as (name, data, id); source: the HTML standard, 9.2.6. Our data is one line of JSON."""
    name, data = "message", ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            last = value
        elif field == "event":
            name = value
        elif field == "data":
            data = value
        elif not line and data:
            yield name, json.loads(data), last
            name, data = "message", ""


def _answer(response: httpx.Response) -> Any:
    """The JSON of an answer, or the error that it tells of, as the class that it is."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _stranger(response)
    if response.is_success:
        return body
    message = str(body.get("message") or f"status {response.status_code}")
    kind = getattr(errors, str(body.get("error")), None)
    if body.get("field"):
        field = str(body["field"])
        raise InvalidArgument(field, message.removeprefix(f"{field}: "))
    if isinstance(kind, type) and issubclass(kind, LorapoolError) and kind not in _WITH_ARGUMENTS:
        raise kind(message)
    error = LorapoolError(message)
    error.status = response.status_code
    raise error


_WITH_ARGUMENTS = (errors.InvalidArgument, errors.PathOutsideDataFolder)


def _away(endpoint: str, error: object) -> GatewayUnavailable:
    return GatewayUnavailable(
        f"the gateway at {endpoint} does not answer ({error}). What it has acknowledged is safe; "
        "is `lorapool up` running there?"
    )


def _stranger(response: httpx.Response) -> GatewayUnavailable:
    where = str(response.url.copy_with(path="/", query=None)).rstrip("/")
    return GatewayUnavailable(
        f"what answers at {where} is no gateway of lorapool (status {response.status_code}, and no JSON object); "
        "check the address and the port, and whether `lorapool up` runs behind it"
    )
