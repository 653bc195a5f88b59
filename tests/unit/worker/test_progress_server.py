"""What an app reports about a query: over real HTTP."""

from __future__ import annotations

import httpx
import pytest

from backend.errors import StaleAttempt, StoreUnavailable
from backend.records import FileWritten, Progress, Record
from backend.worker.progress_server import ProgressServer


@pytest.fixture(scope="module")
def server() -> ProgressServer:
    return ProgressServer()


def test_progress_is_heard(server: ProgressServer) -> None:
    heard: list[Record] = []
    url = server.open(heard.append)
    assert httpx.post(url, json={"step": 3, "total": 20}).status_code == 204
    written = {"type": "file", "kind": "sample", "path": "/x.png"}
    assert httpx.post(url, json=written).status_code == 204
    assert heard == [Progress(3, 20), FileWritten("sample", "/x.png")]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"step": "3", "total": 4}', b"[" * 60_000, b"x" * 70_000]
)
def test_what_is_no_record_is_refused(server: ProgressServer, body: bytes) -> None:
    heard: list[Record] = []
    assert httpx.post(server.open(heard.append), content=body).status_code == 400
    assert heard == []


def test_each_query_has_an_ear_of_its_own(server: ProgressServer) -> None:
    one: list[Record] = []
    other: list[Record] = []
    first, second = server.open(one.append), server.open(other.append)
    httpx.post(second, json={"step": 1, "total": 2})
    assert (one, other) == ([], [Progress(1, 2)])
    assert first != second


def test_a_query_that_is_over_is_told_so(server: ProgressServer) -> None:
    url = server.open(lambda record: None)
    server.close(url)
    assert httpx.post(url, json={"step": 1, "total": 2}).status_code == 410


@pytest.mark.parametrize(("error", "status"), [(StaleAttempt("over"), 410), (StoreUnavailable("away"), 503)])
def test_what_could_not_be_recorded_is_said(server: ProgressServer, error: Exception, status: int) -> None:
    def hear(record: Record) -> None:
        raise error

    assert httpx.post(server.open(hear), json={"step": 1, "total": 2}).status_code == status
