"""The curve of a run as a widget: loss as it was and smoothed, learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

import app
from app.notebook.follow import Point

MOST = 500
"""Points that are drawn: more than a notebook has pixels for would only travel."""

_SMOOTHING = 0.95
_VENDOR = Path(app.__file__).parent / "static" / "vendor" / "uplot"


def series(points: Sequence[Point], most: int = MOST) -> dict[str, list[Any]]:
    """Steps, loss, its mean and learning rate of at most `most` points; the first and the last are among them.

    The mean is taken over all points, before some are left out.
    """
    usable = [point for point in points if _finite(point.get("loss"))]
    means = smoothed([float(point["loss"]) for point in usable])
    stride = max(1, math.ceil((len(usable) - 1) / max(1, most - 1)))
    chosen = sorted({*range(0, len(usable), stride), *([len(usable) - 1] if usable else [])})
    return {
        "steps": [usable[n]["step"] for n in chosen],
        "loss": [usable[n]["loss"] for n in chosen],
        "mean": [means[n] for n in chosen],
        "lr": [usable[n].get("lr") for n in chosen],
    }


def smoothed(values: Sequence[float]) -> list[float]:
    """An exponential mean that starts unbiased, as in Adam (Kingma & Ba 2015, section 3)."""
    mean = weight = 0.0
    out = []
    for value in values:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        out.append(mean / weight)
    return out


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _module() -> str:
    """The widget's JavaScript with uPlot in it: a notebook may be offline, and its server is not ours."""
    library = (_VENDOR / "uPlot.iife.min.js").read_text(encoding="utf-8")
    own = Path(__file__).with_name("curve.js").read_text(encoding="utf-8")
    return f"const uPlot = (() => {{ {library}\nreturn uPlot; }})();\n{own}"


def _style() -> str:
    library = (_VENDOR / "uPlot.min.css").read_text(encoding="utf-8")
    return library + Path(__file__).with_name("widgets.css").read_text(encoding="utf-8")


class Curve(anywidget.AnyWidget):
    """`data` as `series` gives it."""

    _esm = _module()
    _css = _style()
    data: traitlets.Dict[str, Any] = traitlets.Dict(series(())).tag(sync=True)
