"""A stream ends when its token is void, and goes on over a store that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from backend.accounts import Caller
from backend.errors import StoreUnavailable, Unauthorized
from backend.gateway import context


class _Authority:
    """Answers or raises as it is told."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)

    async def caller(self, *_: Any) -> Caller:
        answer = self._answers.pop(0)
        if answer is not None:
            raise answer
        return Caller()


def followed(*answers: Exception | None) -> list[str]:
    gateway = SimpleNamespace(authority=_Authority(*answers))
    app = SimpleNamespace(state=SimpleNamespace(gateway=gateway))
    request = Request({"type": "http", "headers": [], "app": app})

    async def events() -> AsyncIterator[str]:
        for name in "abcde":
            yield name

    async def read() -> list[str]:
        return [event async for event in context.while_allowed(cast(Request, request), events())]

    return asyncio.run(read())


def test_a_stream_ends_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "RECHECKED", -1.0)
    assert followed(None, StoreUnavailable("away"), None, Unauthorized("revoked")) == ["a", "b", "c"]


def test_a_token_is_not_looked_at_with_every_event() -> None:
    assert followed() == list("abcde")
