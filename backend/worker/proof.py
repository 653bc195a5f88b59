"""Proof that a training did what it promised: a LoRA file that is new, whole, and finite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

_FLOATS = {"F64": (8, 0x7FF0 << 48), "F32": (4, 0x7F80 << 16), "F16": (2, 0x7C00), "BF16": (2, 0x7F80)}
"""Bytes of an element, and the exponent bits that are all set in an infinity or NaN (IEEE 754)."""

_LONGEST_HEADER = 100 << 20


def fault(path: Path, *, since: float) -> str:
    """What is wrong with a safetensors file, in words; empty when it is new (since `since`), whole and finite."""
    try:
        status = path.stat()
    except OSError:
        return f"the training ended without writing {path.name}"
    if status.st_mtime < since:
        return f"{path.name} is older than this run: the training wrote nothing"
    try:
        return _content_fault(path, status.st_size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{path.name} is not a readable safetensors file ({error})"


def _content_fault(path: Path, size: int) -> str:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
            return f"{path.name} is not a safetensors file"
        tensors = {k: v for k, v in json.loads(file.read(length)).items() if k != "__metadata__"}
    if not tensors:
        return f"{path.name} holds no tensors"
    data = (
        np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
        if size > 8 + length
        else np.empty(0, np.uint8)
    )
    for name, tensor in tensors.items():
        start, end = tensor["data_offsets"]
        if end > len(data):
            return f"{path.name} is cut off: {name} is not whole"
        width, exponent = _FLOATS.get(tensor["dtype"], (0, 0))
        if width and _any_special(data[start:end], width, exponent):
            return f"{path.name} holds NaN or infinite values (in {name}): the training diverged"
    return ""


def _any_special(raw: np.ndarray, width: int, exponent: int) -> bool:
    values = np.frombuffer(raw.tobytes(), dtype=f"<u{width}")
    return bool(np.any((values & exponent) == exponent))
