"""Who may change something through the front end."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from app.security import is_loopback, known_host, same_origin


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),  # no browser
        ({"host": "a:1", "origin": "http://a:1"}, True),
        ({"host": "a:1", "origin": "http://a:2"}, False),
        ({"host": "a:1", "origin": "http://evil"}, False),
        ({"host": "a:1", "origin": "null"}, False),
        ({"host": "inner:1", "x-forwarded-host": "a", "origin": "https://a"}, True),
        ({"host": "inner:1", "origin": "https://a", "sec-fetch-site": "same-origin"}, True),
        ({"host": "a", "origin": "http://a", "sec-fetch-site": "cross-site"}, False),
        ({"host": "a", "sec-fetch-site": "same-site"}, False),
        ({"host": "a", "sec-fetch-site": "none"}, True),
    ],
)
def test_only_a_page_of_this_origin_counts_as_ours(headers: dict[str, str], allowed: bool) -> None:
    assert same_origin(Headers(headers)) is allowed


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_addresses_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.5", "gpu-box", "::"])
def test_addresses_that_others_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("127.0.0.1:8001", True),
        ("[::1]:8001", True),
        ("192.168.0.5", True),
        ("LOCALHOST:8001", True),
        ("gpu-box:8001", True),
        ("evil.example:8001", False),
        ("", False),
    ],
)
def test_a_name_that_is_not_ours_is_not_answered_to(header: str, known: bool) -> None:
    assert known_host(header, {"gpu-box"}) is known
