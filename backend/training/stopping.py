"""How a run is asked to stop: at once (SIGTERM, SIGINT), or after saving where it is (SIGUSR1)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SAVED_FOR_LATER = 85
"""Exit code of a run that saved its state on SIGUSR1 and can be resumed."""


class Stopped(BaseException):
    """Raised in the middle of whatever runs when the process is to end now."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class SavedForLater(BaseException):
    """Raised once the state is saved and the process is to end."""


class StopRequest:
    """Whether somebody has asked to save and stop; the loop looks between steps."""

    def __init__(self) -> None:
        self.save_and_stop = False


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Take the signals for the time of a run; outside the main thread they stay as they are."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def stop(number: int, _: FrameType | None) -> None:
        # Once is enough: another signal must not disturb the tidying up.
        for again in (signal.SIGTERM, signal.SIGINT):
            signal.signal(again, signal.SIG_IGN)
        raise Stopped(number)

    def save(_: int, __: FrameType | None) -> None:
        request.save_and_stop = True

    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
        signal.SIGINT: signal.signal(signal.SIGINT, stop),
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, save),
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
