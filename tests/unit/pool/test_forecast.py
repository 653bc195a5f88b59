"""The forecast of a queue: made a little at a time, written only where somebody would notice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.pool import forecast as forecast_module
from backend.pool.clock import SystemClock
from backend.pool.forecast import Forecast
from backend.scaling import Snapshot, WaitingTask, WaitingTasks, parse_autoscaler
from backend.store import plans
from tests.support.scaling_world import NOW, busy, running
from tests.support.store_world import World


@pytest.fixture
def forecast(world: World) -> Forecast:
    return Forecast(world.service, world.store, SystemClock())


def seen(ids: list[str], *, left: float = 20.0) -> Snapshot:
    """`ids` wait for an instance whose task has `left` seconds to go, each takes ten."""
    queue = WaitingTasks(
        WaitingTask(name, "command", NOW - 100, seconds=10.0, index=n) for n, name in enumerate(ids)
    )
    instance = busy("a", running("r", left=left))
    return Snapshot(NOW, parse_autoscaler({"min": 0, "max": 1}), queue, (instance,))


def finish(forecast: Forecast) -> None:
    while forecast.under_way:
        forecast.go_on()


def test_it_goes_on_in_slices_with_the_queue_as_it_was(
    world: World, forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_module, "SLICE", 2)
    ids = [world.put() for _ in range(5)]
    snapshot = seen(ids)
    forecast.begin(snapshot, {})
    forecast.go_on()
    assert world.store.run(plans.count(world.service)) == 2
    snapshot.waiting.take(ids[3])
    finish(forecast)
    found = world.store.run(plans.of(world.service, ids))
    assert [plan.position for plan in found if plan] == [1, 2, 3, 4, 5]
    assert [plan.expected_start for plan in found if plan] == [NOW + 20 + 10 * n for n in range(5)]


def test_nothing_is_written_that_nobody_would_notice(world: World, forecast: Forecast) -> None:
    ids = [world.put() for _ in range(3)]
    forecast.begin(seen(ids), {})
    finish(forecast)
    forecast.begin(seen(ids, left=20.5), {})
    finish(forecast)
    (plan,) = world.store.run(plans.of(world.service, ids[:1]))
    assert plan and plan.expected_start == NOW + 20
    # but what moved by more is, and what was given out and came back, which has no plan any more
    world.ask("DEL", f"lorapool:plan:{world.service}")
    forecast.forget(ids[1:2])
    forecast.begin(seen(ids, left=20.5), {})
    finish(forecast)
    found = world.store.run(plans.of(world.service, ids))
    assert [plan is not None for plan in found] == [False, True, False]
    forecast.begin(seen(ids, left=50.0), {})
    finish(forecast)
    (plan,) = world.store.run(plans.of(world.service, ids[:1]))
    assert plan and plan.expected_start == NOW + 50


def test_a_long_queue_is_forecast_less_often_the_longer_that_takes(
    world: World, forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_module, "LONG_QUEUE", 2)
    ids = [world.put() for _ in range(3)]
    forecast.begin(seen(ids), {})
    finish(forecast)
    forecast.begin(seen(ids), {})
    assert not forecast.under_way
    # a short one is always
    short = replace(seen(ids), waiting=seen(ids[:1]).waiting)
    forecast.begin(short, {})
    assert forecast.under_way
