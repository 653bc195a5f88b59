"""What the pool monitor says of instances and of whom they were spent on."""

from __future__ import annotations

from app.notebook.pool_monitor import instances_table, spent_table
from backend.views import InstanceView, SpentView, VitalsView


def instance(vitals: VitalsView | None) -> InstanceView:
    return InstanceView("i", "s", "idle", 1, [], 0.0, vitals=vitals)


def test_a_gpu_is_shown_and_its_absence_is_said() -> None:
    gpu = VitalsView(0.1, 8, 64, "RTX 4090", 0.87, 6_000_000_000, 24_000_000_000)
    shown = instances_table([instance(gpu)], {}, 0.0)
    assert "6.0 of 24.0 GB" in shown and "87%" in shown
    shown = instances_table([instance(VitalsView(0.35, 4_000_000_000, 16_000_000_000))], {}, 0.0)
    assert "4.0 of 16.0 GB (no GPU)" in shown and "35% (no GPU)" in shown
    assert "GPU" not in instances_table([instance(None)], {}, 0.0)


def test_every_user_has_a_line() -> None:
    shown = spent_table([SpentView("ana", 90.0, 1.0, 2.0), SpentView("", 1.0, 0.0, 0.0)])
    assert "ana" in shown and "nobody in particular" in shown
    assert "No instance has been used yet." in spent_table([])
