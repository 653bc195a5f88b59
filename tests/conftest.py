"""The order of the rings: the quick ones first, the browser last.

Playwright keeps an event loop running in the main thread while its browser is open; nothing that starts a loop of its
own may run after it.
"""

from __future__ import annotations

import pytest

RINGS = ("unit", "integration", "e2e", "chaos", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def ring(item: pytest.Item) -> int:
        parts = item.path.relative_to(item.config.rootpath).parts
        return next((n for n, name in enumerate(RINGS) if name in parts), len(RINGS))

    items.sort(key=ring)
