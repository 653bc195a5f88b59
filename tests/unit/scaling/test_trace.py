"""Reading traces, and the errors that name the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from backend.scaling.trace import BadTrace, TraceTask, read_trace


def write(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, "utf-8")
    return path


def test_plain_and_compressed_are_the_same(tmp_path: Path) -> None:
    text = "arrival_s,service_s,base_model,group,steps\n0,5,m00,u1,30\n7.5,2,m01,u2,20\n"
    packed = tmp_path / "trace.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    expected = [
        TraceTask(0.0, 5.0, ("base_model=m00", "steps=30")),
        TraceTask(7.5, 2.0, ("base_model=m01", "steps=20")),
    ]
    assert read_trace(packed) == read_trace(write(tmp_path, text)) == expected


def test_two_columns_are_enough(tmp_path: Path) -> None:
    assert read_trace(write(tmp_path, "service_s,arrival_s\n5,0\n")) == [TraceTask(0.0, 5.0)]


BAD = [
    ("arrival_s,seconds\n0,1\n", "no column service_s"),
    ("", "no column arrival_s and service_s"),
    ("arrival_s,service_s\n", "no tasks"),
    ("arrival_s,service_s\n0,1\nsoon,1\n", "line 3: arrival_s is 'soon'"),
    ("arrival_s,service_s\n0,1\n1\n", "line 3: service_s is None"),
    ("arrival_s,service_s\n0,nan\n", "line 2: service_s"),
    ("arrival_s,service_s\n0,0\n", "line 2: service_s must be more than 0"),
    ("arrival_s,service_s\n9,1\n5,1\n", "line 3: arrival_s 5 is before"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadTrace) as caught:
        read_trace(write(tmp_path, text))
    assert words in str(caught.value)


@pytest.mark.parametrize("raw", [b"\x1f\x8b\x08broken", b"\xff\xfe\x00", b"\x1f\x8b"])
def test_a_file_that_is_no_text(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(raw)
    with pytest.raises(BadTrace, match="cannot be read"):
        read_trace(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match="cannot be read"):
        read_trace(tmp_path / "none.csv")
