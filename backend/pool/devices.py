"""What an instance can be given on this host: an NVIDIA GPU each, by NVML, or else the CPU."""

from __future__ import annotations

import os
from functools import cache

import pynvml


@cache
def gpus() -> tuple[str, ...]:
    """`cuda:0`, `cuda:1`, …: the GPUs that this process may use, by NVML and `CUDA_VISIBLE_DEVICES`."""
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = [str(n) for n in range(count)] if visible is None else [v.strip() for v in visible.split(",")]
    return tuple(f"cuda:{number}" for number in numbers if number and number != "-1")


def default_capacity() -> int:
    """How many instances make sense here at once: one for each GPU, or one for each two cores."""
    return len(gpus()) or max(1, (os.cpu_count() or 1) // 2)


def environment(device: str) -> dict[str, str]:
    """The variables that tie a process to its device."""
    if device.startswith("cuda:"):
        return {"CUDA_VISIBLE_DEVICES": device.removeprefix("cuda:")}
    return {"CUDA_VISIBLE_DEVICES": "", **threading_environment()}


def threading_environment() -> dict[str, str]:
    """How many cores a process takes for its arithmetic, and that its threads sleep while they wait.

    OpenMP reads these once, when its library is loaded: a template must have them before it imports torch.
    """
    threads = max(1, (os.cpu_count() or 1) // (2 * default_capacity()))
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
