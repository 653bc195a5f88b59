"""Bytes become the lines that a terminal would have shown, wherever they were cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.worker.lines import LONGEST_LINE, PlainLines


def lines(*chunks: bytes) -> list[str]:
    reader = PlainLines()
    found = [line for chunk in chunks for line in reader.feed(chunk)[0]]
    return found + reader.close()[0]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"no end", ["no end"]),
        (b"\n\n", ["", ""]),
        (b"windows\r\nends\r\n", ["windows", "ends"]),
        (b" 10%\r 50%\r100%\n", ["100%"]),
        (b"100%\r\r\n", ["100%"]),
        (b" 10%\r 50%\r", [" 50%"]),
        (b"\rbar\n", ["bar"]),
        (b"a\r\nb\rc\n", ["a", "c"]),
        ("größer ◯\n".encode(), ["größer ◯"]),
        (b"bad \xff byte\n", ["bad \ufffd byte"]),
        (b"cut \xc3", ["cut \ufffd"]),
        (b"tab\tand\x00nul\n", ["tab\tand\x00nul"]),
    ],
)
def test_what_is_shown(printed: bytes, shown: list[str]) -> None:
    assert lines(printed) == shown


def test_a_line_is_given_when_it_is_complete() -> None:
    reader = PlainLines()
    assert reader.feed(b"first\nsec")[0] == ["first"]
    assert reader.feed(b"ond")[0] == []
    assert reader.feed(b"\n")[0] == ["second"]


@pytest.mark.parametrize("length", [LONGEST_LINE - 1, LONGEST_LINE, LONGEST_LINE + 1, 3 * LONGEST_LINE])
def test_a_long_line_comes_in_pieces_and_nothing_of_it_is_lost(length: int) -> None:
    found = lines(b"x" * length + b"\n", b"next\n")
    assert "".join(found[:-1]) == "x" * length
    assert all(0 < len(line) <= LONGEST_LINE for line in found[:-1])
    assert found[-1] == "next"


def test_a_program_that_never_ends_a_line_is_no_burden() -> None:
    reader = PlainLines()
    for _ in range(100):
        reader.feed(b"x" * 10_000)
    assert sum(map(len, reader.close()[0])) <= LONGEST_LINE


def test_a_bar_that_is_redrawn_for_ever_is_no_burden() -> None:
    reader = PlainLines()
    assert [reader.feed(b"\r%5d" % n)[0] for n in range(20_000)] == [[]] * 20_000
    assert reader.close()[0] == ["19999"]


pieces = st.lists(
    st.sampled_from(
        [b"a", b"word ", b"\n", b"\r", b"\r\n", "é◯".encode(), b"\xff", b"x" * LONGEST_LINE, b"y" * 5000]
    ),
    max_size=30,
).map(b"".join)


@given(pieces, st.lists(st.integers(0, 60_000), max_size=8))
@example(b"x" * LONGEST_LINE + b"\rnew\n", [LONGEST_LINE, LONGEST_LINE + 1])
@example("é".encode() * 5000, [1, 4097, 9999])
def test_where_the_bytes_are_cut_makes_no_difference(printed: bytes, cuts: list[int]) -> None:
    places = sorted({cut for cut in cuts if cut < len(printed)} | {0, len(printed)})
    chunks = [printed[start:end] for start, end in itertools.pairwise(places)]
    assert lines(*chunks) == lines(printed)
    assert lines(*(bytes([byte]) for byte in printed[:2000])) == lines(printed[:2000])
