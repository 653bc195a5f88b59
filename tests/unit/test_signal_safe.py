from __future__ import annotations

import subprocess
import sys
import threading
import time

from backend.signal_safe import SignalSafeEvent

_STORM = """
import os, signal, sys, threading, time
from {module} import {event} as Event

sys.setswitchinterval(0.0001)
asked, over = Event(), threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())

def storm():
    for _ in range(1_000):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)
    over.set()

threading.Thread(target=storm, daemon=True).start()
while not over.is_set():
    asked.set()
    asked.wait(0.0001)
    asked.clear()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
asked.set()
assert asked.wait(0.0)
"""


def test_signals_that_interrupt_it_anywhere_cannot_hang_it() -> None:
    """`threading.Event` hangs here, or its handlers pile up until the stack is full."""
    program = _STORM.format(module="backend.signal_safe", event="SignalSafeEvent")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60.0)


def test_it_stays_set_until_it_is_cleared() -> None:
    event = SignalSafeEvent()
    assert not event.is_set()
    assert not event.wait(0.0)
    event.set()
    event.set()
    assert event.is_set()
    assert event.wait()
    assert event.wait(0.0)
    event.clear()
    assert not event.is_set()
    assert not event.wait(0.01)


def test_a_wait_lasts_as_long_as_it_was_told() -> None:
    began = time.monotonic()
    assert not SignalSafeEvent().wait(0.05)
    assert time.monotonic() - began >= 0.05


def test_everybody_who_waits_is_woken() -> None:
    event, woken = SignalSafeEvent(), []
    waiting = [threading.Thread(target=lambda: woken.append(event.wait(60.0))) for _ in range(5)]
    for thread in waiting:
        thread.start()
    event.set()
    for thread in waiting:
        thread.join(60.0)
    assert woken == [True] * 5
