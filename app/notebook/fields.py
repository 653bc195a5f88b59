"""One field of the form as a widget, with what is wrong with it below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from app.notebook import words
from kohya_adapter.fields import Field, Value
from kohya_adapter.problems import Problem

_WIDE: dict[str, Any] = {"width": "98%"}
_LABEL: dict[str, Any] = {"description_width": "130px"}


class FieldRow:
    """`widget` is the field, its help as a tooltip, and its problems; `changed` is called when one has typed."""

    def __init__(
        self, field: Field, value: Value, offered: Sequence[str], changed: Callable[[], object]
    ) -> None:
        self.field = field
        self.problem = ""
        self._input = _input(field, value, offered)
        self._message: Any = ipywidgets.HTML(layout={"display": "none", "margin": "-4px 0 4px 138px"})
        self.widget: Any = ipywidgets.VBox([self._input, self._message])
        self._input.observe(lambda _: changed(), "value")

    @property
    def value(self) -> Value:
        """What it holds now; text where the table says number, when it was typed into a text box."""
        value: Value = self._input.value
        return value

    @value.setter
    def value(self, value: Value) -> None:
        with self._input.hold_trait_notifications():
            self._input.value = _held(self.field, value, self._input)

    def typed(self, text: str) -> None:
        """Have something typed into it, whatever it is; only boxes for text take what is no number."""
        self._input.value = text

    def tell(self, problems: Sequence[Problem]) -> None:
        """Say these problems here, errors first; none clears the place."""
        ordered = sorted(problems, key=lambda problem: problem.severity)
        self.problem = "; ".join(problem.message for problem in ordered)
        bad = any(problem.severity == "error" for problem in problems)
        self._message.value = words.say(self.problem, "bad" if bad else "muted")
        self._message.layout.display = None if self.problem else "none"


def _input(field: Field, value: Value, offered: Sequence[str]) -> Any:
    common = {
        "description": field.label,
        "tooltip": field.help,
        "layout": _WIDE,
        "style": _LABEL,
    }
    if field.widget == "checkbox":
        return ipywidgets.Checkbox(value=bool(value), **common)
    if field.type == "int":
        return ipywidgets.IntText(value=value, **common)
    if field.type == "float":
        # Learning rates are written as 1e-4, which a box for numbers shows as 0.0001 and may refuse to take.
        return ipywidgets.Text(value=_plain(value), continuous_update=False, **common)
    if field.format == "lines":
        return ipywidgets.Textarea(value=str(value), continuous_update=False, rows=4, **common)
    options = [*offered, *(str(choice) for choice in field.choices if str(choice) not in offered)]
    if options and not field.free:
        return ipywidgets.Dropdown(options=options, value=str(value), **common)
    if options:
        return ipywidgets.Combobox(
            options=options, value=str(value), ensure_option=False, continuous_update=False, **common
        )
    return ipywidgets.Text(value=str(value), continuous_update=False, **common)


def _held(field: Field, value: Value, box: Any) -> Value:
    """A value as its box holds it."""
    if isinstance(box, ipywidgets.IntText):
        return int(value)
    return bool(value) if isinstance(box, ipywidgets.Checkbox) else _plain(value)


def _plain(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
