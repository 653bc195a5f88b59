"""How an instance's machine and device fare: what the pages show of memory and load.

A GPU is asked by NVML, as long as it answers; the machine's processor and memory are those of all that runs on it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from typing import Any

import psutil
import pynvml

EVERY = 5.0
"""Seconds between two looks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Vitals:
    """Memory in bytes, loads as shares of one. Without a GPU `gpu` is empty and its numbers are None."""

    cpu_load: float
    memory_used: int
    memory_total: int
    gpu: str = ""
    gpu_load: float | None = None
    gpu_memory_used: int | None = None
    gpu_memory_total: int | None = None


def look(visible: str) -> Vitals:
    """The vitals of this moment; `visible` is the instance's `CUDA_VISIBLE_DEVICES`, of which the first counts."""
    memory = psutil.virtual_memory()
    here = Vitals(
        cpu_load=round(psutil.cpu_percent(None) / 100, 3),
        memory_used=memory.total - memory.available,
        memory_total=memory.total,
    )
    device = visible.split(",")[0].strip()
    if not device or device == "-1":
        return here
    try:
        return dataclasses.replace(here, **_gpu(device))
    except pynvml.NVMLError:
        return here


def _gpu(device: str) -> dict[str, Any]:
    pynvml.nvmlInit()
    if device.isdigit():
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(device))
    else:
        handle = pynvml.nvmlDeviceGetHandleByUUID(device)
    name = pynvml.nvmlDeviceGetName(handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        load: float | None = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    except pynvml.NVMLError:
        # A part of a GPU (MIG) has memory of its own, but no load.
        load = None
    return {
        "gpu": name.decode() if isinstance(name, bytes) else str(name),
        "gpu_load": load,
        "gpu_memory_used": int(memory.used),
        "gpu_memory_total": int(memory.total),
    }


class Watch:
    """Looks every few seconds, in a thread of its own: a driver that hangs must not keep a lease from being renewed."""

    def __init__(self) -> None:
        self._news = ""

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._look, name="vitals", daemon=True).start()

    def take(self) -> str:
        """What was last seen as JSON; empty when that was taken already."""
        news, self._news = self._news, ""
        return news

    def _look(self) -> None:
        psutil.cpu_percent(None)
        while True:
            time.sleep(EVERY)
            self._news = json.dumps(dataclasses.asdict(look(os.environ.get("CUDA_VISIBLE_DEVICES", ""))))
