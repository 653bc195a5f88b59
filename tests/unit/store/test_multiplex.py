from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from backend.store.multiplex import Incomplete, pack, parse

ANSWERS = st.recursive(
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def encode(answer: Any) -> bytes:
    """What a server sends."""
    if answer is None:
        return b"$-1\r\n"
    if isinstance(answer, int):
        return b":%d\r\n" % answer
    if isinstance(answer, bytes):
        return b"$%d\r\n%b\r\n" % (len(answer), answer)
    return b"*%d\r\n" % len(answer) + b"".join(encode(item) for item in answer)


@given(st.lists(ANSWERS, min_size=1, max_size=4))
def test_answers_are_read_one_after_another(answers: list[Any]) -> None:
    data, at, found = b"".join(encode(answer) for answer in answers), 0, []
    while at < len(data):
        answer, at = parse(data, at)
        found.append(answer)

    assert found == answers


@given(ANSWERS)
def test_every_beginning_of_an_answer_is_incomplete(answer: Any) -> None:
    data = encode(answer)
    for end in range(len(data)):
        with pytest.raises(Incomplete):
            parse(data[:end], 0)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"-NOSCRIPT No matching script\r\n", redis.exceptions.NoScriptError),
        (b"-LOADING in memory\r\n", redis.exceptions.BusyLoadingError),
        (b"-OOM command not allowed\r\n", redis.exceptions.OutOfMemoryError),
        (b"-ERR odd\r\n", redis.ResponseError),
    ],
)
def test_errors_are_answers(line: bytes, kind: type[Exception]) -> None:
    error, _ = parse(line, 0)

    assert type(error) is kind and str(error).encode() in line


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(redis.InvalidResponse):
        parse(b"HTTP/1.1 200 OK\r\n", 0)


def test_requests_are_arrays_of_bulk_strings() -> None:
    assert pack(("SET", "é", b"\r\n", 3)) == b"*4\r\n$3\r\nSET\r\n$2\r\n\xc3\xa9\r\n$2\r\n\r\n\r\n$1\r\n3\r\n"
