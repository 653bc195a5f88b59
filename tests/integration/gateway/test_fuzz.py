"""Whatever is sent, the gateway answers with a status below 500, and goes on.

`LORAPOOL_FUZZ_EXAMPLES` makes the runs longer.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.gateway_box import TOKEN, Box

NAMES = [
    *(
        "_index_",
        "_length_",
        "_timeout_",
        "_raw_",
        "_auto_delete_",
        "_attrs_",
        "_search_",
        "_count_",
        "_priority_",
    ),
    *(
        "_indexes_",
        "_negative_",
        "_trunc_",
        "_eos_",
        "_force_",
        "requestId",
        "taskType",
        "color",
        "_odd_",
        "\0",
        "",
    ),
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(
    st.sampled_from(
        [
            "true",
            "false",
            "0",
            "1",
            "-1",
            "3",
            "1,2",
            "0s",
            "100ms",
            "command",
            "query",
            "",
            " x ",
            "x" * 5000,
        ]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    TEXT,
)
QUERIES = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("Accept", "Content-Type", "Last-Event-ID", "X-EAS-QueueService-Redis-Uid"),
            *("X-EAS-QueueService-Redis-Gid", "X-EAS-QueueService-Priority"),
        ]
    ),
    st.one_of(
        st.sampled_from(["application/vnd.google.protobuf", "application/json", "1", "x" * 300]),
        st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
    ),
    max_size=3,
)
FUZZ = settings(
    max_examples=int(os.environ.get("LORAPOOL_FUZZ_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def http(box: Box) -> Iterator[httpx.Client]:
    # A long wait is no error of a fuzz run: it is answered 408.
    for kind in ("Queue", "Async", "ScalableJob"):
        box.create(f"fuzz-{kind}", kind, **{"rpc.keepalive": 200})
    with box.http() as http:
        yield http


def _fine(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    assert "retry-after" not in answer.headers
    if answer.status_code >= 400:
        assert answer.json()["message"]


@FUZZ
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    st.sampled_from(["Queue", "Async", "ScalableJob"]),
    st.one_of(
        st.sampled_from(["", "/sink", "/dead", "/sink/", "/v1/infer"]),
        TEXT.map(lambda text: f"/{quote(text)}"),
    ),
    QUERIES,
    HEADERS,
    st.binary(max_size=200),
)
def test_the_queue_protocol(
    http: httpx.Client,
    method: str,
    kind: str,
    sub: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
) -> None:
    url = f"/api/predict/fuzz-{kind}{sub}?{urlencode(query)}"
    raw = {name: value.encode("latin-1") for name, value in headers.items()}

    _fine(http.request(method, url, headers=raw, content=body))


# JSON may escape half a character, and Python's readers take NaN for a number.
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
FIELDS = [
    "id",
    "kind",
    "name",
    "priority",
    "tags",
    "argv",
    "command",
    "data",
    "environment",
    "files",
    "details",
]


@FUZZ
@given(
    st.one_of(JSON, st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4)),
    st.sampled_from(["services/fuzz-ScalableJob/tasks", "services", "tasks/x/cancel", "tasks/x/priority"]),
)
def test_bodies_of_the_control_api(http: httpx.Client, body: Any, path: str) -> None:
    _fine(
        http.post(f"/api/v1/{path}", content=json.dumps(body), headers={"Content-Type": "application/json"})
    )


@FUZZ
@given(
    st.sampled_from(["tasks", "decisions", "instances", "tasks/x/log", "tasks/x/events", "services/x"]),
    st.lists(
        st.tuples(st.sampled_from(["service", "state", "limit", "before", "after", "log", "user"]), VALUES),
        max_size=3,
    ),
    HEADERS,
)
def test_queries_of_the_control_api(
    http: httpx.Client, path: str, query: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}

    _fine(http.get(f"/api/v1/{path}?{urlencode(query)}", headers=raw))


@FUZZ
@given(
    st.sampled_from(
        ["Queue", "Async", "ScalableJob/sink", "Queue/dead", "ScalableJob", "missing", "Async/infer"]
    ),
    QUERIES,
    st.lists(st.tuples(st.sampled_from(["_window_", "_index_only_", "_auto_commit_"]), VALUES), max_size=2),
    HEADERS,
    st.booleans(),
    st.binary(max_size=100),
)
def test_watchers(
    box: Box,
    http: httpx.Client,
    queue: str,
    query: list[tuple[str, str]],
    options: list[tuple[str, str]],
    headers: dict[str, str],
    upgrades: bool,
    frames: bytes,
) -> None:
    """The handshake is answered, or the stream begins; what a client sends on it disturbs nobody."""
    url = f"/api/predict/fuzz-{queue}?{urlencode([*query, *options, ('_watch_', 'true')])}"
    lines = [f"GET {url} HTTP/1.1", "Host: x", f"Authorization: {TOKEN}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if upgrades:
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: IZEj1cbnJKeiJ+lgxqq/kw=="]
    with socket.create_connection(("127.0.0.1", box.port), timeout=10.0) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + frames)
        status = connection.recv(12)

    assert status[:9] == b"HTTP/1.1 " and status[9:10] in b"1234", status
    assert http.get("/healthz").status_code == 200


@FUZZ
@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_bytes_that_are_no_request(box: Box, http: httpx.Client, garbage: bytes, after_a_head: bool) -> None:
    head = f"POST /api/predict/fuzz-Queue HTTP/1.1\r\nHost: x\r\nAuthorization: {TOKEN}\r\n".encode()
    with socket.create_connection(("127.0.0.1", box.port), timeout=10.0) as connection:
        connection.sendall((head if after_a_head else b"") + garbage + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk

    assert not answer.startswith(b"HTTP/1.1 5")
    assert http.get("/healthz").status_code == 200
