from __future__ import annotations

from pathlib import Path

import backend
from backend.training.reference import page

PAGE = Path(backend.__file__).parents[1] / "docs" / "trainer-arguments.md"


def test_the_page_in_the_documentation_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "write it anew: python -m backend.training.reference > docs/trainer-arguments.md"
    )
