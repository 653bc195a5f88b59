"""What an instance says of its machine and device."""

from __future__ import annotations

from backend.pool.devices import gpus
from backend.worker import vitals


def test_without_a_gpu_the_machine_speaks_for_itself() -> None:
    found = vitals.look("")
    assert 0 < found.memory_used < found.memory_total
    assert 0 <= found.cpu_load <= 1
    assert found.gpu == "" and found.gpu_memory_total is None


def test_a_gpu_is_asked_where_there_is_one() -> None:
    found = vitals.look("0")
    assert bool(found.gpu) == bool(gpus())
    if found.gpu:
        assert 0 < (found.gpu_memory_used or 0) < (found.gpu_memory_total or 0)
