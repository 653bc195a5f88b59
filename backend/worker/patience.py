"""Waiting for a store that is away, as long as the instance may speak at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from backend.errors import StoreUnavailable

T = TypeVar("T")

_PAUSE = 0.2


def patiently(ask: Callable[[], T], give_up: Callable[[], bool]) -> T:
    """Ask until the store answers. `ask` must be something that may happen twice.

    Raises:
        StoreUnavailable: `give_up` said so; others have been, or will be, given what this was about.
    """
    while True:
        try:
            return ask()
        except StoreUnavailable:
            if give_up():
                raise
        time.sleep(_PAUSE)
