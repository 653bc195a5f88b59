"""The reference pages are what the code says now."""

from __future__ import annotations

import pytest

from scripts.make_reference import DOCS, pages


@pytest.mark.parametrize("name", pages())
def test_a_page_made_from_the_code_is_up_to_date(name: str) -> None:
    said = (DOCS / name).read_text(encoding="utf-8")
    assert said == pages()[name], f"run `python -m scripts.make_reference` to make docs/{name} anew"
