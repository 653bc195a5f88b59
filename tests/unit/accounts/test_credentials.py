"""Passwords and tokens as they are kept."""

from __future__ import annotations

import pytest

from backend.accounts import Account, Limits, Role, credentials, valid_name
from backend.errors import InvalidArgument


def test_a_password_is_kept_with_a_salt_and_fits_itself_alone() -> None:
    kept, again = credentials.hashed("correct horse"), credentials.hashed("correct horse")
    assert kept != again and "correct" not in kept
    assert credentials.fits("correct horse", kept)
    assert not credentials.fits("correct horsf", kept)
    assert not credentials.fits("", "") and not credentials.fits("x", "scrypt$1$2")


@pytest.mark.parametrize("password", ["", "short", "x" * 201])
def test_a_password_that_cannot_be_one(password: str) -> None:
    with pytest.raises(InvalidArgument, match="8 to 200"):
        credentials.check_password(password)


def test_tokens_are_long_never_the_same_and_kept_as_a_fingerprint() -> None:
    made = {credentials.new_token() for _ in range(100)}
    assert len(made) == 100 and all(len(token) == 46 and token.startswith("lp_") for token in made)
    kept = credentials.fingerprint(next(iter(made)))
    assert len(kept) == 64 and kept.startswith(credentials.token_id(kept))
    assert "." not in "".join(made), "a cookie parts them with dots"


@pytest.mark.parametrize("name", ["", "-ana", ".", "..", "a/b", "ana\n", "a b", "ä", "x" * 65, "a\0"])
def test_names_that_could_be_a_path_or_forge_a_line_are_none(name: str) -> None:
    assert not valid_name(name)
    assert valid_name("ana") and valid_name("ana.b+c@studio-x.example")


def test_an_account_is_the_same_when_it_comes_back() -> None:
    account = Account("ana", Role.VIEWER, Limits(1, None, 2.5), frozenset({"b", "a"}), True, True, 3.0)
    assert Account.from_json(account.to_json()) == account
