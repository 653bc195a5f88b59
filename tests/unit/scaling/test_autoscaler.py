"""Reading the `autoscaler` of a description: both spellings, defaults, what is refused, what is only mentioned."""

from __future__ import annotations

from typing import Any

import pytest

from backend.errors import InvalidArgument
from backend.scaling import parse_autoscaler, unknown_parts


def test_the_defaults_are_those_of_a_scalable_job() -> None:
    found = parse_autoscaler(None)
    assert (found.min, found.max, found.strategies) == (1, 10, ())
    behavior = found.behavior
    assert (behavior.scale_up.seconds, behavior.scale_down.seconds) == (0, 1)
    assert (behavior.on_zero.grace, behavior.on_zero.activation) == (60, 1)
    assert (found.count_running, found.comfort) == (True, 0.5)


def test_an_empty_scale_down_has_the_default_window() -> None:
    found = parse_autoscaler({"behavior": {"scaleDown": {}, "scaleUp": {}, "onZero": {}}})
    assert (found.behavior.scale_up.seconds, found.behavior.scale_down.seconds) == (0, 1)


def test_both_spellings_say_the_same() -> None:
    short = parse_autoscaler({"strategies": {"avg_waiting_length": 3, "qps": 10}})
    long = parse_autoscaler(
        {
            "scaleStrategies": [
                {"metricName": "avg_waiting_length", "threshold": 3},
                {"metricName": "qps", "threshold": 10},
            ]
        }
    )
    assert short == long
    assert parse_autoscaler({"strategies": short.model_dump(by_alias=True)["strategies"]}) == short


def test_everything_that_eas_documents_is_read() -> None:
    found = parse_autoscaler(
        {
            "min": 0,
            "max": 20,
            "strategies": {"queue[avgbacklog]": 10},
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 30},
                "scaleDown": {"stabilizationWindowSeconds": 300},
                "onZero": {
                    "scaleDownGracePeriodSeconds": 600,
                    "scaleUpActivationReplicas": 3,
                    "interceptTraffic": True,
                },
            },
        }
    )
    assert found.strategies[0].metric == "queue[avgbacklog]"
    assert (found.behavior.scale_up.seconds, found.behavior.scale_down.seconds) == (30, 300)
    assert (found.behavior.on_zero.grace, found.behavior.on_zero.activation) == (600, 3)
    assert unknown_parts(found) == ()


@pytest.mark.parametrize(("preset", "comfort"), [("economy", 0.0), ("default", 0.5), ("comfort", 1.0)])
def test_a_preset_is_a_place_on_the_dial(preset: str, comfort: float) -> None:
    assert parse_autoscaler({"preset": preset}).comfort == comfort


REFUSED: list[tuple[dict[str, Any] | list[int], str, str]] = [
    ({"min": 5, "max": 2}, "autoscaler", "greater than max"),
    ({"min": -1}, "autoscaler.min", "greater than or equal to 0"),
    ({"max": 1001}, "autoscaler.max", "1000"),
    ({"strategies": {"qps": 0}}, "autoscaler.strategies.0.threshold", "greater than 0"),
    ({"strategies": {"qps": "many"}}, "autoscaler.strategies.0.threshold", "number"),
    ({"strategies": [{"threshold": 3}]}, "autoscaler.strategies.0.metricName", "required"),
    (
        {"scaleStrategies": [{"metricName": "qps", "threshold": 1}, {"metricName": "qps", "threshold": 2}]},
        "autoscaler",
        "named twice",
    ),
    (
        {"strategies": {"qps": 1}, "scaleStrategies": [{"metricName": "cpu", "threshold": 2}]},
        "autoscaler",
        "two spellings",
    ),
    ({"behavior": {"scaleUp": {"stabilizationWindowSeconds": -1}}}, "autoscaler.behavior.scaleUp", "greater"),
    ({"preset": "cheap"}, "autoscaler", "economy, default, comfort"),
    ({"preset": "economy", "comfort": 0.2}, "autoscaler", "same dial"),
    ({"comfort": 1.5}, "autoscaler.comfort", "less than or equal to 1"),
    ({"user_limits": {"ana": -1}}, "autoscaler", "below 0"),
    ([1], "autoscaler", "dictionary"),
]


@pytest.mark.parametrize(("data", "field", "words"), REFUSED, ids=[str(data) for data, *_ in REFUSED])
def test_what_is_wrong_is_refused_with_its_key(data: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_autoscaler(data)
    assert caught.value.field.startswith(field)
    assert words in caught.value.message
    assert "left as it was" in caught.value.message


def test_what_means_nothing_here_is_mentioned_and_does_no_harm() -> None:
    found = parse_autoscaler(
        {
            "max": 4,
            "mx": 9,
            "strategies": {"avg_waiting_length": 2, "gpu[util]": 60, "my_metric": 3},
            "behavior": {"scaleUp": {"selectPolicy": "Max"}},
            "user_limits": {"ana": 1},
        }
    )
    assert found.max == 4
    assert [said.partition(":")[0] for said in unknown_parts(found)] == [
        "autoscaler.mx",
        "autoscaler.behavior.scaleUp.selectPolicy",
        "autoscaler.strategies.my_metric",
    ]


def test_a_metric_of_another_service_is_mentioned() -> None:
    listed = [{"metricName": "avg_waiting_length", "threshold": 2, "service": "other"}]
    (said,) = unknown_parts(parse_autoscaler({"scaleStrategies": listed}))
    assert "not measured" in said


def test_limits_of_users() -> None:
    found = parse_autoscaler({"max_running_per_user": 2, "user_limits": {"ana": 4, "bob": 0}})
    assert [found.user_limit(user) for user in ("ana", "bob", "eve")] == [4, 0, 2]
    assert parse_autoscaler({}).user_limit("ana") is None
