"""The reference of the form's fields as Markdown, from the same table as the form itself.

`python -m kohya_adapter.reference > docs/form-fields.md` writes the page that the documentation has.
"""

from __future__ import annotations

from kohya_adapter.fields import Condition, Field, groups, plain


def markdown() -> str:
    """One section for each group, one row for each field."""
    parts = ["# The fields of the training form", _INTRODUCTION]
    for name, fields in groups().items():
        parts += [
            f"## {name}",
            "| key | what it does | default | range or choices |\n| --- | --- | --- | --- |",
        ]
        parts[-1] += "".join(f"\n{_row(field)}" for field in fields)
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = (
    "Keys, defaults, ranges and choices are those of kohya_ss, so that its JSON files mean the same here. "
    "A range is what a slider shows; values beyond it are kept. Fields in bold make the short form."
)


def _row(field: Field) -> str:
    key = f"**`{field.key}`**" if field.basic else f"`{field.key}`"
    about = f"{field.label}. {field.help}{_when(field)}"
    cells = (key, about, f"`{plain(field.default)}`" if field.default != "" else "", _values(field))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(field: Field) -> str:
    if field.choices:
        listed = ", ".join(f"`{plain(choice)}`" for choice in field.choices if choice != "")
        return f"{listed}, or your own" if field.free else listed
    low, high = field.minimum, field.maximum
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"from {low:g}" if low is not None else ""


def _when(field: Field) -> str:
    if field.shown is None:
        return " Never shown."
    return f" Shown with {' and '.join(map(_condition, field.shown))}." if field.shown else ""


def _condition(condition: Condition) -> str:
    if not condition.values:
        return f"`{condition.key}` set"
    return f"`{condition.key}` {' or '.join(condition.values)}"


if __name__ == "__main__":
    print(markdown(), end="")
