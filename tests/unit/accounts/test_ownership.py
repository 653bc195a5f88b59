"""Whose a path of the data folder is."""

from __future__ import annotations

import pytest

from backend.accounts import Caller, Role, ownership

OWNERS = {"datasets/cats": "ana", "loras/cat.safetensors": "ana", "jobs/t1": "ana"}
ANA, BOB = Caller(Role.MEMBER, user="ana"), Caller(Role.MEMBER, user="bob")
EVE, SERVICE = Caller(Role.VIEWER, user="ana"), Caller(services=frozenset({"svc"}))


@pytest.mark.parametrize(
    ("path", "ana", "bob"),
    [
        ("datasets/cats", "change", "none"),
        ("datasets/cats/1_cat/a.png", "change", "none"),
        ("datasets/dogs/1_dog/a.png", "read", "read"),
        ("loras/cat.safetensors", "change", "none"),
        ("loras/shared/x.safetensors", "read", "read"),
        ("jobs/t1/output/x.safetensors", "change", "none"),
        ("outputs/t1/0.png", "change", "none"),
        ("jobs/t2/log.txt", "none", "none"),
        ("models/sd15", "read", "read"),
        ("models/../token", "none", "none"),
        ("datasets/cats/../dogs", "none", "none"),
        ("datasets", "none", "none"),
        ("jobs", "none", "none"),
        ("store/password", "none", "none"),
        ("logs/gateway.log", "none", "none"),
        ("token", "none", "none"),
        (".", "none", "none"),
        ("", "none", "none"),
    ],
)
def test_what_two_people_may_do(path: str, ana: str, bob: str) -> None:
    def may(caller: Caller) -> str:
        if ownership.may_change(caller, path, OWNERS):
            return "change"
        return "read" if ownership.may_read(caller, path, OWNERS) else "none"

    assert (may(ANA), may(BOB)) == (ana, bob)
    assert may(SERVICE) == "change"
    assert may(EVE) == ana.replace("change", "read"), "a viewer changes nothing, not even its own"


def test_nobody_is_not_the_owner_of_what_has_none() -> None:
    assert not ownership.may_change(Caller(Role.MEMBER), "datasets/dogs", OWNERS)
