"""The reference has every field, and every row is a row."""

from __future__ import annotations

import re
from pathlib import Path

from kohya_adapter import FIELDS, groups
from kohya_adapter.reference import markdown


def test_every_field_has_its_row_and_every_group_its_section() -> None:
    text = markdown()
    rows = [line for line in text.splitlines() if line.startswith(("| `", "| **`"))]
    assert len(rows) == len(FIELDS)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
    assert all(f"`{field.key}`" in row and field.help in row for field, row in zip(FIELDS, rows, strict=True))
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(groups())


def test_the_page_of_the_documentation_is_current() -> None:
    page = Path(__file__).parents[3] / "docs" / "form-fields.md"
    assert page.read_text(encoding="utf-8") == markdown(), (
        "write it anew: python -m kohya_adapter.reference > docs/form-fields.md"
    )
