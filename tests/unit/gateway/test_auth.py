from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from backend.accounts import Caller
from backend.errors import Forbidden, Unauthorized
from backend.gateway.auth import Authority, Signed, same, signature
from backend.gateway.catalog import Catalog
from backend.service import Description, ServiceType
from backend.store.connection import AsyncStore
from backend.store.services import Deployed


def deployed(name: str, token: str) -> Deployed:
    return Deployed(Description(name=name, type=ServiceType.QUEUE), token, 0.0)


SERVICES = [deployed("a", "token-a"), deployed("b", "token-b"), deployed("c", "token-b")]


class _Catalog:
    async def all(self) -> list[Deployed]:
        return SERVICES


def caller(authorization: str, service: Deployed | None = None, request: Signed | None = None) -> Caller:
    authority = Authority("admin", cast(Catalog, _Catalog()), cast(AsyncStore, None))
    return asyncio.run(authority.caller(authorization, service, request))


def test_the_recorded_signature_of_the_official_client() -> None:
    request = Signed(
        "POST",
        "/api/predict/svc",
        {"content-type": "application/octet-stream", "date": "Sat, 21 Nov 2026 19:31:45 GMT"},
        b"[{}]",
    )

    assert signature("TOKEN==", request) == "EAS opc2aJZI7CHUYtecAh3aodrwWyI="


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer {}"])
def test_a_token_is_taken_as_it_is_or_as_bearer(form: str) -> None:
    assert caller(form.format("admin")).administrator
    assert caller(form.format("token-a")).services == {"a"}


def test_a_token_covers_every_service_that_has_it() -> None:
    assert caller("token-b").services == {"b", "c"}
    assert caller("token-b", SERVICES[1]).may_use("b")


@pytest.mark.parametrize(
    "given", ["", " ", "wrong", "Bearer ", "Bearer wrong", "EAS wrong", "tokén", "admin "]
)
def test_anything_else_is_nobody(given: str) -> None:
    with pytest.raises(Unauthorized):
        caller(given)


def test_a_signature_counts_only_where_it_can_be_checked() -> None:
    request = Signed("POST", "/api/predict/a", {}, b"body")

    assert caller(signature("token-a", request), SERVICES[0], request).may_use("a")
    with pytest.raises(Unauthorized):
        caller(signature("token-a", request), SERVICES[0], None)
    with pytest.raises(Unauthorized):
        caller(signature("token-a", request), SERVICES[0], Signed("POST", "/api/predict/a", {}, b"other"))


def test_a_service_without_a_token_lets_nobody_in_without_one() -> None:
    assert not same("", "")
    with pytest.raises(Unauthorized):
        caller("", deployed("open", ""))


def test_what_a_token_does_not_cover_is_forbidden() -> None:
    with pytest.raises(Forbidden, match="service b"):
        caller("token-a").need("b")
    with pytest.raises(Forbidden, match="administrator"):
        caller("token-a").need_administrator()
    caller("admin").need("anything")


def test_comparing_takes_any_text() -> None:
    values: list[Any] = ["\udce9", "é", "x"]
    assert [same(value, "x") for value in values] == [False, False, True]
