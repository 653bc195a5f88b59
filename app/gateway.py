"""The front end's way to the gateway: the one place that knows the token.

`backend.client` is for programs that wait for their answer; pages need many streams at once and files passed on as
they come, so this is the same interface read asynchronously and handed through without looking inside.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from app.sse import Event, events
from backend.errors import LorapoolError

_FORWARDED = "x-lorapool-from"
"""Tells the audit log whose browser it was."""

_TIMEOUT = httpx.Timeout(20.0, connect=3.0)
_STREAM_TIMEOUT = httpx.Timeout(30.0, connect=3.0)
"""The gateway says something at least every 10 seconds on a stream."""


class GatewayLost(LorapoolError):
    """The gateway does not answer; what it has accepted is safe."""

    status = 503

    def __init__(self) -> None:
        super().__init__(
            "The gateway does not answer. Accepted tasks are safe and go on; this page shows them again as soon as "
            "it is back."
        )


class GatewayRefused(LorapoolError):
    """The gateway said no. `answer` is its JSON, fit to be passed on as it is."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        super().__init__(str(answer.get("message") or f"the gateway answered {status}"))
        self.status = status
        self.answer = {"error": "LorapoolError", "message": str(self), **answer}


class Gateway:
    """The control API of a deployment, asked with the front end's token, or with that of who is at the page.

    Raises (every method):
        GatewayLost: no answer.
        GatewayRefused: an answer that is an error.
    """

    def __init__(self, endpoint: str, token: str) -> None:
        self._token = token
        self._source = ""
        self._http = httpx.AsyncClient(
            base_url=f"{endpoint.rstrip('/')}/api/v1/",
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            trust_env=False,
        )

    def speaking(self, token: str | None, source: str = "") -> Gateway:
        """The same for another token (None: this one), on behalf of a browser at the address `source`."""
        other = copy.copy(self)
        other._token = self._token if token is None else token
        other._source = source
        return other

    def _headers(self) -> dict[str, str]:
        return {"authorization": self._token} | ({_FORWARDED: self._source} if self._source else {})

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON answer of a GET."""
        return await self._json("GET", path, params=query)

    async def post(self, path: str, body: Any) -> Any:
        """The JSON answer of a POST."""
        return await self._json("POST", path, json=body)

    async def put(self, path: str, body: Any) -> Any:
        """The JSON answer of a PUT."""
        return await self._json("PUT", path, json=body)

    async def send(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer of any other change."""
        return await self._json(method, path, json=body)

    async def stream(
        self, path: str, query: Mapping[str, int], last_id: str = ""
    ) -> AsyncGenerator[Event, None]:
        """The server-sent events of `path`; `last_id` resumes after that event."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        async with self._open(path, params=query, headers=headers, timeout=_STREAM_TIMEOUT) as answer:
            with _losses():
                async for event in events(answer.aiter_lines()):
                    yield event

    @asynccontextmanager
    async def file(self, path: str) -> AsyncIterator[httpx.Response]:
        """A download, its body not yet read."""
        async with self._open(path, headers={"accept-encoding": "identity"}) as answer:
            yield answer

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        with _losses():
            answer = await self._http.request(method, path, headers=self._headers(), **options)
        await _refuse(answer)
        return answer.json()

    @asynccontextmanager
    async def _open(self, path: str, **options: Any) -> AsyncIterator[httpx.Response]:
        headers = {**self._headers(), **options.pop("headers", {})}
        request = self._http.build_request("GET", path, headers=headers, **options)
        with _losses():
            answer = await self._http.send(request, stream=True)
        try:
            await _refuse(answer)
            yield answer
        finally:
            await answer.aclose()


class _losses:
    """Turns what httpx calls a broken connection into `GatewayLost`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, httpx.TransportError):
            raise GatewayLost from error


async def _refuse(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    with _losses():
        text = (await answer.aread()).decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    raise GatewayRefused(answer.status_code, body if isinstance(body, dict) else {})
