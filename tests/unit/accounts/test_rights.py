"""What whoever asks may do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from backend.accounts import Caller, Role
from backend.errors import Forbidden


@dataclass(frozen=True)
class Thing:
    service: str
    user: str


DEPLOYMENT, SERVICE = Caller(), Caller(services=frozenset({"svc"}))
ADMIN = Caller(Role.ADMIN, user="boss")
BOUND = Caller(Role.ADMIN, frozenset({"svc"}), "boss")
ANA, EVE = Caller(Role.MEMBER, user="ana"), Caller(Role.VIEWER, user="ana")


def test_who_administers() -> None:
    assert [c.administrator for c in (DEPLOYMENT, ADMIN, SERVICE, BOUND, ANA)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_an_administrator_whose_session_is_bound_to_a_service_operates_that_alone() -> None:
    assert BOUND.operates("svc") and not BOUND.operates("other")
    BOUND.need_contents(Thing("svc", "ana"))
    with pytest.raises(Forbidden):
        BOUND.need_contents(Thing("other", "boss"))


def test_contents_are_their_users_and_the_operators() -> None:
    own, others, nobodys = Thing("svc", "ana"), Thing("svc", "bob"), Thing("svc", "")
    assert [ANA.owns(each) for each in (own, others, nobodys)] == [True, False, False]
    assert all(SERVICE.owns(each) for each in (own, others, nobodys))
    assert not SERVICE.owns(Thing("other", ""))


def test_a_viewer_reads_its_own_and_changes_nothing() -> None:
    EVE.need_contents(Thing("svc", "ana"))
    with pytest.raises(Forbidden, match="viewer"):
        EVE.need_change(Thing("svc", "ana"))
    ANA.need_change(Thing("svc", "ana"))
