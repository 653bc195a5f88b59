"""The settings of scaling as the Service page shows and changes them."""

from __future__ import annotations

from typing import Any

import pytest

from app.service import Settings, settings_of, with_settings


@pytest.mark.parametrize(
    ("autoscaler", "shown"),
    [
        ({}, {"min": 1, "max": 2, "rule": "work", "comfort": 0.5}),
        ({"min": 0, "max": 4, "preset": "economy"}, {"min": 0, "max": 4, "rule": "work", "comfort": 0.0}),
        ({"strategies": {"avg_waiting_length": 2}}, {"rule": "length", "threshold": 2.0}),
        (
            {"scaleStrategies": [{"metricName": "queue[avgbacklog]", "threshold": 3}]},
            {"rule": "length", "threshold": 3.0},
        ),
        ({"strategies": {"cpu": 50}}, {"rule": "other"}),
    ],
)
def test_every_spelling_is_shown(autoscaler: dict[str, Any], shown: dict[str, Any]) -> None:
    found = settings_of({"metadata": {"instance": 2}, "autoscaler": autoscaler})
    assert shown.items() <= found.items()


def test_a_change_keeps_what_the_page_does_not_show() -> None:
    behavior = {"onZero": {"scaleDownGracePeriodSeconds": 5}}
    kept: dict[str, Any] = {"behavior": behavior, "user_limits": {"a": 1}}
    before = {"autoscaler": {"min": 0, "max": 1, "strategies": {"cpu": 1}, **kept}}
    work = with_settings(before, Settings(min=1, max=3, rule="work", comfort=1.0))
    assert work == {"min": 1, "max": 3, **kept, "comfort": 1.0}
    length = with_settings({"autoscaler": work}, Settings(min=1, max=3, rule="length", threshold=2))
    assert length["strategies"] == {"avg_waiting_length": 2} and "comfort" not in length
    untouched = with_settings(before, Settings(min=0, max=9))
    assert untouched == {**before["autoscaler"], "min": 0, "max": 9}
    assert settings_of({"autoscaler": length})["rule"] == "length"
