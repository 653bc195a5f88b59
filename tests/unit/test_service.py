"""Service descriptions: EAS-shaped JSON, with comments, read into types or refused with the key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.deploy import scaling_warnings
from backend.errors import InvalidArgument
from backend.scaling import parse_autoscaler
from backend.service import ServiceType, default_description, parse

BASE: dict[str, Any] = {"metadata": {"name": "svc", "type": "ScalableJob"}}


def test_a_whole_description() -> None:
    parsed = parse(
        """
        {
          // what it is
          "metadata": {"name": "kohya_job", "type": "ScalableJob", "instance": 2, "rpc.worker_threads": 3},
          "containers": [{"script": "python train.py", "port": 8001,}],  # one
          "queue": {"max_delivery": 7, "sink.capacity": 50, "sink": {"auto_evict": true}},
          "autoscaler": {"min": 0, "max": 4},
          "scalable_job.enable_write_log_to_queue": false,
          "token": "abc", //////////////////////
        }
        """
    )
    found = parsed.description
    assert (found.name, found.type, found.instance) == ("kohya_job", ServiceType.SCALABLE_JOB, 2)
    assert found.rpc.worker_threads == 3
    assert (found.queue.max_delivery, found.queue.sink.capacity) == (7, 50)
    assert found.queue.sink.auto_evict
    assert found.containers[0].script == "python train.py"
    assert found.autoscaler == {"min": 0, "max": 4}
    assert found.token == "abc"
    assert not found.logs_to_queue("command")
    assert found.sink == "kohya_job/sink"
    assert parsed.warnings == ()


def test_logs_of_commands_go_to_the_queue_unless_said_otherwise() -> None:
    found = parse(BASE).description
    assert found.logs_to_queue("command")
    assert not found.logs_to_queue("query")


def test_name_and_type_may_stand_at_the_top() -> None:
    assert parse({"name": "svc", "type": "Queue"}).description.type is ServiceType.QUEUE


def test_dotted_and_nested_keys_meet() -> None:
    found = parse({**BASE, "rpc.keepalive": 5, "rpc": {"worker_threads": 2}}).description
    assert (found.rpc.keepalive, found.rpc.worker_threads) == (5, 2)
    found = parse({**BASE, "rpc": {"worker_threads": 2}, "rpc.keepalive": 5}).description
    assert (found.rpc.keepalive, found.rpc.worker_threads) == (5, 2)


def test_what_means_nothing_is_kept_and_said() -> None:
    parsed = parse({**BASE, "colour": "green"})
    assert any("colour" in warning for warning in parsed.warnings)
    assert parsed.description.raw["colour"] == "green"


def test_comment_signs_within_strings_are_text() -> None:
    found = parse('{"name": "svc", "type": "Queue", "token": "a#b//c,]"}').description
    assert found.token == "a#b//c,]"


@pytest.mark.parametrize(
    ("text", "field", "word"),
    [
        ("", "description", "line 1"),
        ("{", "description", "line 1"),
        ('{"metadata": {}\n "x": 1}', "description", "line 2"),
        ("[]", "description", "object"),
        ("3", "description", "object"),
        (b"\xff\xfe\x00", "description", "UTF-8"),
        ("[" * 100_000, "description", "deep"),
        ('{"metadata": 3}', "metadata", "object"),
        ('{"type": "Queue"}', "metadata.name", "missing"),
        ('{"name": "svc"}', "metadata.type", "missing"),
        ('{"name": "svc", "type": "Nonsense"}', "type", "Nonsense"),
        ('{"name": "no space", "type": "Queue"}', "name", "letter"),
        ('{"name": "a/b", "type": "Queue"}', "name", "letter"),
        ('{"name": "x\\n", "type": "Queue"}', "name", "letter"),
        ('{"name": "svc", "type": "Queue", "instance": -1}', "instance", "-1"),
        ('{"name": "svc", "type": "Queue", "queue.max_delivery": 0}', "queue.max_delivery", "0"),
        ('{"name": "svc", "type": "Queue", "rpc.worker_threads": "x"}', "rpc.worker_threads", "x"),
        ('{"name": "svc", "type": "Queue", "containers": 7}', "containers", "7"),
    ],
)
def test_what_cannot_be_deployed_is_refused_with_its_place(text: str | bytes, field: str, word: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert caught.value.field == field
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_row_of_signs_behind_a_comma_is_a_comment_like_any_other() -> None:
    # A pattern that splits it in every possible way would never come back from this.
    text = '{"name": "svc", "type": "Queue", ' + "#" * 5_000 + "\n" + "//" * 5_000 + '\n "instance": 3}'
    assert parse(text).description.instance == 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_plain_json_reads_the_same_with_comments_and_trailing_commas(value: dict[str, Any]) -> None:
    whole = {**BASE, "free": value}
    text = json.dumps(whole, indent=1, ensure_ascii=False).replace("\n", " # a, ] comment\n")
    with_commas = text.rstrip()[:-1] + ", // end\n}"
    # A string of a random text may hold line ends only as escapes, so no comment got into one.
    assert parse(with_commas).description.raw == whole


@given(
    st.dictionaries(st.sampled_from(["metadata", "name", "type", "queue", "rpc", "containers"]), json_values)
)
def test_nothing_but_a_clear_refusal_comes_of_nonsense(value: dict[str, Any]) -> None:
    try:
        parse(value)
    except InvalidArgument as error:
        assert error.field


def test_the_default_service_is_sound() -> None:
    found = parse(default_description(most=3, token="t")).description
    assert found.type.runs_tasks
    assert (found.token, found.queue.max_delivery, found.queue.sink.auto_evict) == ("t", 3, True)
    bounds = parse_autoscaler(found.autoscaler)
    assert (bounds.min, bounds.max) == (1, 3)


def test_which_services_run_tasks() -> None:
    runs = {kind for kind in ServiceType if kind.runs_tasks}
    assert runs == {ServiceType.SCALABLE_JOB, ServiceType.SCALABLE_JOB_SERVICE}


def test_the_calendar_is_read_and_what_means_nothing_in_the_autoscaler_is_said() -> None:
    jobs = [{"Name": "morning", "Schedule": "0 30 8 * * *", "TargetSize": 2}]
    found = parse({**BASE, "autoscaler": {"max": 3, "mx": 4}, "cronscaler": {"ScaleJobs": jobs}})
    assert found.description.cronscaler == {"ScaleJobs": jobs}
    assert found.warnings == ()
    (said,) = scaling_warnings(found.description)
    assert said.startswith("autoscaler.mx:")


def test_a_calendar_that_is_wrong_is_refused() -> None:
    found = parse({**BASE, "cronscaler": {"ScaleJobs": [{"Schedule": "at noon", "TargetSize": 2}]}})
    with pytest.raises(InvalidArgument, match=r"cronscaler\.ScaleJobs\.0\.Schedule"):
        scaling_warnings(found.description)
