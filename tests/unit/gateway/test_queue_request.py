from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InvalidArgument, LorapoolError
from backend.gateway import queue_request
from backend.gateway.queue_request import QueueRequest, duration, negative_reason, parse, whole


def request(query: str = "", path: str = "/api/predict/svc", **headers: str) -> QueueRequest:
    return parse("GET", path, query.encode(), {name.replace("_", "-"): v for name, v in headers.items()})


def test_reserved_parameters_and_tags_are_told_apart() -> None:
    found = request("_index_=3&jobId=a+b%26c%2F%E4%B8%AD&_x=1&x_=2&__=3&empty=")

    assert found.reserved == {"_index_": "3"}
    assert found.tags == {"jobId": "a b&c/中", "_x": "1", "x_": "2", "__": "3", "empty": ""}


@pytest.mark.parametrize(
    ("path", "service", "sub_path"),
    [
        ("/api/predict/svc", "svc", ""),
        ("/api/predict/svc/", "svc", ""),
        ("/api/predict/group.svc/sink", "group.svc", "sink"),
        ("/api/predict/svc/a/b", "svc", "a/b"),
    ],
)
def test_the_path_names_service_and_rest(path: str, service: str, sub_path: str) -> None:
    found = request(path=path)

    assert (found.service, found.sub_path) == (service, sub_path)


@pytest.mark.parametrize(
    ("raw_path", "app_path"),
    [
        ("/api/predict/svc", ""),
        ("/api/predict/svc/", ""),
        ("/api/predict/svc/a%2Fb/%E4%B8%AD%25//c/", "/a%2Fb/%E4%B8%AD%25//c/"),
    ],
)
def test_the_app_gets_its_path_as_it_came(raw_path: str, app_path: str) -> None:
    assert parse("POST", unquote(raw_path), b"", {}, raw_path=raw_path).app_path == app_path
    known = parse("POST", unquote(raw_path), b"", {}).app_path
    assert known == quote(unquote(app_path)), "where only the decoded path is known"


def test_a_query_that_was_not_encoded_is_utf_8_or_latin_1() -> None:
    assert parse("GET", "/api/predict/svc", "a=中&b=%E4%B8%AD".encode(), {}).tags == {"a": "中", "b": "中"}
    assert parse("GET", "/api/predict/svc", b"a=\xe9", {}).tags == {"a": "é"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5.0),
        ("0s", 0.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("5", 5.0),
        ("0", 0.0),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("100us", 1e-4),
        ("100µs", 1e-4),
        ("999h", 3600.0),
    ],
)
def test_durations_are_go_durations_or_bare_seconds(text: str, seconds: float) -> None:
    assert duration("_timeout_", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5x", "-5s", "5s5", "1e3", "٥s", "nan", "9" * 50])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="_timeout_"):
        duration("_timeout_", text)


@pytest.mark.parametrize(
    "text", ["", "1.0", "1_000", " 1", "٣", "0x1", "-", "--1", "9" * 30, "4503599627370496"]
)
def test_only_plain_numbers_that_the_store_can_order_are_indexes(text: str) -> None:
    with pytest.raises(InvalidArgument):
        whole("_index_", text, 0)


def test_a_number_below_the_least_is_refused() -> None:
    assert whole("_index_", "-1", -1) == -1
    with pytest.raises(InvalidArgument, match="at least 0"):
        whole("_index_", "-1", 0)


def test_indexes_are_separated_by_commas() -> None:
    assert request("_indexes_=1%2C2,3").indexes() == [1, 2, 3]
    for bad in ("", ",", "0", "1,x", "-1"):
        with pytest.raises(InvalidArgument):
            request(f"_indexes_={bad}").indexes()


def test_priority_stands_in_the_query_or_in_the_header() -> None:
    assert request("_priority_=1").priority() == 1
    assert request(**{"x_eas_queueservice_priority": "1"}).priority() == 1
    assert request().priority() == 0


def test_accept_decides_the_form_and_its_absence_means_json() -> None:
    assert request(accept="application/vnd.google.protobuf").protobuf
    assert not request().protobuf
    assert not request(accept="*/*").protobuf


@pytest.mark.parametrize("code", ["Shutdown", "500", "NotReady", "Bad.Input", ""])
def test_codes_of_negative_commits(code: str) -> None:
    assert negative_reason(f"_code_={code}&_reason_=why".encode()) == (code, "why")


@pytest.mark.parametrize("code", ["shutdown", "5xx", "A b", "X" * 21, "500.1"])
def test_other_codes_are_refused(code: str) -> None:
    with pytest.raises(InvalidArgument, match="_code_"):
        negative_reason(b"_code_=" + code.replace(" ", "%20").encode())


@given(st.text(max_size=60), st.binary(max_size=60))
def test_no_request_raises_anything_but_our_errors(path: str, query: bytes) -> None:
    found = parse("GET", "/api/predict/" + path, query, {"x-eas-queueservice-redis-gid": path})
    for read in (
        found.indexes,
        found.timeout,
        found.priority,
        lambda: found.group,
        lambda: found.asks("_watch_"),
        lambda: found.number("_index_", default=0, least=-1),
    ):
        try:
            read()
        except LorapoolError as error:
            assert error.status == 400


def test_the_longest_name_of_a_group_is_bounded() -> None:
    with pytest.raises(InvalidArgument):
        _ = request(**{"x_eas_queueservice_redis_gid": "g" * (queue_request.LONGEST_NAME + 1)}).group
