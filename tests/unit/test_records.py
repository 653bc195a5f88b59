"""What a program says on `PROGRESS_FD`: JSON lines, read tolerantly."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import records
from backend.records import Failed, FileWritten, Phase, Progress, Record, Result

ALL: list[Record] = [
    Phase("caching latents"),
    Progress(12, 300, epoch=1, epochs=5, loss=0.08, lr=0.001, seconds_per_step=0.11, eta=31.7),
    Progress(0, 1),
    FileWritten("sample", "/data/x.png", step=100, epoch=2, label="ein roter Kreis ◯"),
    FileWritten("state", "/data/state"),
    Failed("loss is NaN since step 40"),
    Result("/data/name.safetensors", steps=300),
]


@pytest.mark.parametrize("record", ALL, ids=lambda record: type(record).__name__)
def test_a_record_survives_its_line(record: Record) -> None:
    line = records.encode(record)
    assert "\n" not in line
    assert records.decode(line) == record
    assert records.decode(line.encode()) == record


def test_a_value_that_json_does_not_have_is_left_out() -> None:
    said = records.to_dict(Progress(1, 2, loss=math.nan, lr=math.inf, eta=1.0))
    assert said == {"type": "progress", "step": 1, "total": 2, "eta": 1.0}


def test_writers_may_say_more_than_readers_know() -> None:
    line = '{"type": "phase", "name": "loading", "mood": "good"}'
    assert records.decode(line) == Phase("loading")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not json",
        b"\xff\xfe",
        "[1, 2]",
        "3",
        "null",
        "{}",
        '{"type": "unheard of"}',
        '{"type": ["phase"], "name": "x"}',
        '{"type": "phase"}',
        '{"type": "phase", "name": null}',
        '{"type": "phase", "name": 3}',
        '{"type": "progress", "step": 1}',
        '{"type": "progress", "step": null, "total": null}',
        '{"type": "progress", "step": "1", "total": 2}',
        '{"type": "progress", "step": true, "total": 2}',
        '{"type": "progress", "step": 1.5, "total": 2}',
        '{"type": "progress", "step": 1, "total": 2, "loss": "low"}',
        '{"type": "file", "kind": "novel", "path": "x"}',
        '{"type": "result", "output": 7}',
        "[" * 100_000,
        '{"type":' * 50_000,
        "9" * 10_000,
    ],
)
def test_what_is_no_record_is_none(line: str | bytes) -> None:
    assert records.decode(line) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
types = st.sampled_from(["phase", "progress", "file", "failed", "result"])
keys = st.sampled_from(
    ["name", "step", "total", "epoch", "loss", "kind", "path", "label", "output", "reason"]
)


@given(types, st.dictionaries(keys, json_values))
def test_whatever_a_foreign_program_writes_is_a_sound_record_or_none(
    kind: str, values: dict[str, object]
) -> None:
    record = records.decode(json.dumps({"type": kind, **values}))
    if record is not None:
        assert records.decode(records.encode(record)) is not None
