"""What an instance can be given on this host."""

from __future__ import annotations

from collections.abc import Iterator

import pynvml
import pytest

from backend.pool import devices


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    devices.gpus.cache_clear()
    yield
    devices.gpus.cache_clear()


def have(monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None = None) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: count)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("count", "visible", "expected"),
    [
        (0, None, ()),
        (2, None, ("cuda:0", "cuda:1")),
        (4, "2,3", ("cuda:2", "cuda:3")),
        (4, "", ()),
        (4, "-1", ()),
        (2, "GPU-8932f937, 1", ("cuda:GPU-8932f937", "cuda:1")),
    ],
)
def test_gpus_are_those_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None, expected: tuple[str, ...]
) -> None:
    have(monkeypatch, count, visible)
    assert devices.gpus() == expected


def test_a_host_without_a_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert devices.gpus() == ()


def test_one_instance_for_each_gpu_or_for_each_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, 3)
    assert devices.default_capacity() == 3
    devices.gpus.cache_clear()
    have(monkeypatch, 0)
    for cores, instances in ((1, 1), (2, 1), (8, 4), (None, 1)):
        monkeypatch.setattr(devices.os, "cpu_count", lambda cores=cores: cores)
        assert devices.default_capacity() == instances


def test_an_instance_sees_its_own_device_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, 0)
    assert devices.environment("cuda:1") == {"CUDA_VISIBLE_DEVICES": "1"}
    assert devices.environment("cpu")["CUDA_VISIBLE_DEVICES"] == ""


def test_instances_on_the_cpu_share_its_cores_and_sleep_while_they_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    have(monkeypatch, 0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 8)
    found = devices.environment("cpu")
    assert 1 <= int(found["OMP_NUM_THREADS"]) <= 8 // devices.default_capacity()
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert devices.environment("cpu")["OMP_NUM_THREADS"] == "7"
