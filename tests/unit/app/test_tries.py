"""How often somebody may be wrong at the login."""

from __future__ import annotations

from app import tries
from app.tries import Tries


def test_so_many_wrong_tries_and_then_a_pause() -> None:
    known = Tries()
    assert all(known.begin("10.0.0.1", 0.0) for _ in range(tries.MOST))
    assert not known.begin("10.0.0.1", tries.WITHIN - 1)
    assert known.begin("10.0.0.2", 1.0), "somebody else's slips are not this one's"
    assert known.begin("10.0.0.1", tries.WITHIN)


def test_who_comes_in_begins_anew() -> None:
    known = Tries()
    for _ in range(tries.MOST):
        known.begin("10.0.0.1", 0.0)
    known.was_right("10.0.0.1")
    assert known.begin("10.0.0.1", 0.0)


def test_addresses_of_one_network_are_one() -> None:
    known = Tries()
    assert all(known.begin(f"2001:db8::{n:x}", 0.0) for n in range(tries.MOST))
    assert not known.begin("2001:db8::ffff", 0.0)
    assert known.begin("2001:db8:0:1::1", 0.0)


def test_what_is_remembered_has_an_end() -> None:
    known = Tries()
    for n in range(tries._MOST_KNOWN):
        known.begin(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 0.0)
    assert known.begin("192.0.2.1", tries.WITHIN + 1) and len(known._known) == 1
