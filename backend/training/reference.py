"""The reference of the trainer's arguments as Markdown, from the same table that reads them.

`python -m backend.training.reference > docs/trainer-arguments.md` writes the page that the documentation has.
"""

from __future__ import annotations

from collections.abc import Iterator

from backend.training.argument_table import Row, rows

_KINDS = {
    "flag": "switch",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "int_or_float": "whole number, or a share below 1",
    "path": "path",
}


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    table = list(rows().values())
    counts = {kind: sum(row.support == kind for row in table) for kind in ("yes", "no effect", "no")}
    yield "# The arguments of the built-in trainer"
    yield ""
    yield "Written by `python -m backend.training.reference`; a test holds it against the code. Names, defaults and"
    yield "meanings are those of sd-scripts' `train_network.py`, `sdxl_train_network.py` and `flux_train_network.py`:"
    yield f"{len(table)} in all, {counts['yes']} honoured, {counts['no effect']} accepted without effect,"
    yield f"{counts['no']} refused."
    yield ""
    yield "## Honoured"
    yield ""
    yield "| argument | what it takes | default |"
    yield "|---|---|---|"
    for row in table:
        if row.support == "yes":
            yield f"| `{row.name}` | {_takes(row)} | {_default(row)} |"
    yield from _noted("Accepted, without effect", "no effect", "why it changes nothing", table)
    yield from _noted("Refused, unless empty or at its default", "no", "why, and what instead", table)


def _noted(title: str, support: str, column: str, table: list[Row]) -> Iterator[str]:
    yield from ("", f"## {title}", "", f"| argument | {column} |", "|---|---|")
    for row in table:
        if row.support == support:
            yield f"| `{row.name}` | {row.note} |"


def _takes(row: Row) -> str:
    if row.choices:
        return ", ".join(f"`{choice}`" for choice in row.choices)
    bounds = f", from {row.low:g}" if row.low is not None else ""
    bounds += f" to {row.high:g}" if row.high is not None else ""
    return f"{_KINDS[row.kind]}{bounds}{', several' if row.many else ''}"


def _default(row: Row) -> str:
    return "" if row.default in (None, False) else f"`{row.default}`"


if __name__ == "__main__":
    print(page(), end="")
