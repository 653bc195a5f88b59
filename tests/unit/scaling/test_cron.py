"""Scheduled scaling: six fields, time zones, excluded dates; what is refused; what the policy makes of it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backend.errors import InvalidArgument
from backend.scaling import Calendar, Memory, Scheduled, decide, parse_cronscaler
from backend.scaling.cron import scheduled
from tests.support.scaling_world import NOW, busy, idle, queue, snapshot

EVENING = {"Name": "evening", "Schedule": "0 0 20 * * *", "TargetSize": 0}
MORNING = {"Name": "morning", "Schedule": "0 30 8 * * *", "TargetSize": 3}


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def said(moment: float, *jobs: dict[str, Any], exclude: tuple[str, ...] = ()) -> Scheduled:
    return scheduled(parse_cronscaler({"ScaleJobs": jobs, "ExcludeDates": exclude}), moment)


@pytest.mark.parametrize(
    ("moment", "job"),
    [
        ("2026-03-04T08:29:59", "evening"),
        ("2026-03-04T08:30:00", "morning"),
        ("2026-03-04T19:59:59.9", "morning"),
        ("2026-03-04T20:00:00", "evening"),
        ("2026-03-05T03:00:00", "evening"),
    ],
)
def test_the_job_that_fired_last_holds(moment: str, job: str) -> None:
    found = said(at(moment), MORNING, EVENING)
    assert (found.job, found.target) == (job, {"evening": 0, "morning": 3}[job])


def test_it_holds_until_the_next_one() -> None:
    found = said(at("2026-03-04T12:00:00"), MORNING, EVENING)
    assert (found.since, found.until) == (at("2026-03-04T08:30:00"), at("2026-03-04T20:00:00"))


def test_seconds_are_the_first_field() -> None:
    job = {"Schedule": "15 2 * * * *", "TargetSize": 1}
    assert said(at("2026-03-04T12:30:00"), job).since == at("2026-03-04T12:02:15")


@pytest.mark.parametrize(
    ("schedule", "since"),
    [
        ("0 */15 * * * *", "2026-03-04T12:30:00"),
        ("0 0 6,11 * * *", "2026-03-04T11:00:00"),
        ("0 0 0 * JAN-FEB *", "2026-02-28T00:00:00"),
        ("0 0 0 1 * *", "2026-03-01T00:00:00"),
        ("0 0 0 * * MON-TUE", "2026-03-03T00:00:00"),
        ("0 0 0 * * 0", "2026-03-01T00:00:00"),  # 0 is Sunday
    ],
)
def test_the_fields(schedule: str, since: str) -> None:
    found = said(at("2026-03-04T12:40:00"), {"Schedule": schedule, "TargetSize": 1})  # a Wednesday
    assert found.since == at(since)


def test_the_time_zone_is_the_jobs_own() -> None:
    job = MORNING | {"TimeZone": "Asia/Shanghai"}
    assert said(at("2026-03-04T12:00:00"), job).since == at("2026-03-04T08:30:00", "Asia/Shanghai")


@pytest.mark.parametrize(("day", "offset"), [("2026-03-28", 1), ("2026-03-29", 2), ("2026-10-25", 1)])
def test_a_day_on_which_the_clocks_change(day: str, offset: int) -> None:
    job = MORNING | {"TimeZone": "Europe/Berlin"}
    fired = datetime.fromtimestamp(said(at(f"{day}T12:00:00"), job).since, UTC)
    assert (fired.hour, fired.minute) == (8 - offset, 30)


def test_excluded_dates_are_passed_over() -> None:
    weekend = "* * * * * 0,6"
    found = said(at("2026-03-08T12:00:00"), MORNING, exclude=(weekend,))  # a Sunday
    assert found.since == at("2026-03-06T08:30:00")
    found = said(at("2026-03-09T12:00:00"), MORNING, exclude=(weekend, "* * * 9 3 *"))
    assert found.since == at("2026-03-06T08:30:00")


def test_where_every_firing_is_excluded_none_holds() -> None:
    assert said(at("2026-03-08T12:00:00"), MORNING, exclude=("* * * * * *",)).target is None


def test_of_two_at_once_the_later_in_the_list_holds() -> None:
    other = MORNING | {"Name": "other", "TargetSize": 7}
    assert said(at("2026-03-04T12:00:00"), MORNING, other).target == 7
    assert said(at("2026-03-04T12:00:00"), other, MORNING).target == 3


REFUSED = [
    ({"ScaleJobs": [MORNING | {"Schedule": "0 18 * * *"}]}, "ScaleJobs.0.Schedule", "six fields"),
    ({"ScaleJobs": [MORNING | {"Schedule": "0 61 * * * *"}]}, "ScaleJobs.0.Schedule", "names no time"),
    ({"ScaleJobs": [MORNING | {"Schedule": "0 0 0 31 2 *"}]}, "ScaleJobs.0.Schedule", "names no time"),
    ({"ScaleJobs": [MORNING | {"TimeZone": "Mars/Base"}]}, "ScaleJobs.0.TimeZone", "no such time zone"),
    ({"ScaleJobs": [MORNING | {"TimeZone": "../etc/passwd"}]}, "ScaleJobs.0.TimeZone", "no such time zone"),
    ({"ScaleJobs": [MORNING | {"TargetSize": -1}]}, "ScaleJobs.0.TargetSize", "greater"),
    ({"ScaleJobs": [{"Name": "x"}]}, "ScaleJobs.0.Schedule", "required"),
    ({"ExcludeDates": ["weekends"]}, "ExcludeDates", "six fields"),
]


@pytest.mark.parametrize(("data", "field", "words"), REFUSED)
def test_what_is_wrong_is_refused_with_its_key(data: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_cronscaler(data)
    assert caught.value.field.startswith(f"cronscaler.{field}")
    assert words in caught.value.message


def test_what_the_control_api_answers_can_be_given_back() -> None:
    answered = MORNING | {"State": "Succeed", "Message": "", "CreateTime": "2026-03-04T12:00:00Z"}
    assert parse_cronscaler({"ScaleJobs": [answered]}) == parse_cronscaler({"ScaleJobs": [MORNING]})


def test_a_calendar_reads_the_schedules_only_when_the_answer_may_change() -> None:
    calendar = Calendar(parse_cronscaler({"ScaleJobs": [MORNING, EVENING]}))
    first = calendar.at(at("2026-03-04T12:00:00"))
    assert calendar.at(at("2026-03-04T19:59:59")) is first
    evening = calendar.at(at("2026-03-04T20:00:00"))
    assert evening is not None and evening.job == "evening"
    # A clock that was set back is believed.
    assert calendar.at(at("2026-03-04T12:00:00")) == first


def test_no_jobs_no_calendar() -> None:
    assert Calendar(parse_cronscaler(None)).at(NOW) is None


def plan(target: int | None, until: float = NOW + 100) -> Scheduled:
    return Scheduled(target, "morning", NOW - 10, until)


def test_what_is_scheduled_stands_in_for_min() -> None:
    made, _ = decide(snapshot(autoscaler={"min": 1}, scheduled=plan(3)), Memory())
    assert (made.start, made.why, made.wake_at) == (3, "morning is scheduled with 3", NOW + 100)
    made, _ = decide(snapshot(idle("a", since=900), autoscaler={"min": 1}, scheduled=plan(0)), Memory())
    assert made.stop == ("a",)
    made, _ = decide(snapshot(autoscaler={"min": 1}, scheduled=plan(None)), Memory())
    assert made.start == 1


def test_it_raises_max_and_work_is_scaled_for_above_it() -> None:
    made, _ = decide(snapshot(autoscaler={"max": 2}, scheduled=plan(4)), Memory())
    assert made.desired == 4
    seen = snapshot(*queue(9, seconds=600), busy("a"), autoscaler={"max": 5}, scheduled=plan(1, math.inf))
    made, _ = decide(seen, Memory())
    assert (made.desired, made.why_not_more) == (5, "max is 5")
