"""The end of a task's log as a widget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_HERE = Path(__file__).parent


def tail(lines: Sequence[tuple[int, str]]) -> dict[str, Any]:
    """Numbered lines as the widget takes them: the first one's number, and the texts."""
    return {"first": lines[0][0] if lines else 1, "lines": [text for _, text in lines]}


class Log(anywidget.AnyWidget):
    """`tail` as the function above gives it. The page keeps what it has had before, up to 5 000 lines."""

    _esm = _HERE / "log.js"
    _css = _HERE / "widgets.css"
    tail: traitlets.Dict[str, Any] = traitlets.Dict(tail(())).tag(sync=True)
