"""Calls about accounts: their records, passwords, tokens, and whose a place of the data folder is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from backend.accounts.account import Account
from backend.store.call import Call, command, script
from backend.store.keys import key

FAILURES_KEPT = 60
"""Seconds for which a failed login counts."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of an account, without the secret. Times are seconds since the epoch.

    `services` narrows what the account covers, None: it does not. A `session` is one that a login made; it never may
    more than the token of its front end.
    """

    name: str
    kind: Literal["token", "session"]
    created_at: float
    expires_at: float | None = None
    services: tuple[str, ...] | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> Token:
        said = json.loads(text)
        services = said["services"]
        return cls(**{**said, "services": None if services is None else tuple(services)})


@dataclass(frozen=True, slots=True)
class Added:
    """Whether a new account was kept. `former`: another of its name was removed then (seconds since the epoch)."""

    state: Literal["ok", "taken", "former"]
    former: float = 0.0


def add(account: Account, *, returning: bool = False) -> Call[Added]:
    """Keep a new account; `returning` says that whoever had its name comes back."""
    call = script("account_add", account.name, account.to_json(), int(returning))
    return call.then(lambda answer: Added(answer[0].decode(), *map(float, answer[1:])))


def unknown(name: str) -> Call[bool]:
    """Whether there is no account of this name and was none that is remembered."""
    return script("account_unknown", name).then(bool)


def save(account: Account) -> Call[bool]:
    """Replace the record of an account; False when there is none any more."""
    return script("account_set", account.name, "users", account.to_json()).then(bool)


def maybe(name: str) -> Call[Account | None]:
    """An account by name."""
    return command("HGET", key("users"), name).then(
        lambda answer: None if answer is None else Account.from_json(answer)
    )


def every() -> Call[list[Account]]:
    """All accounts, by name."""
    call = command("HVALS", key("users"))
    return call.then(lambda answer: sorted(map(Account.from_json, answer), key=lambda each: each.name))


def count() -> Call[int]:
    """How many accounts there are."""
    return command("HLEN", key("users")).then(int)


def remove(name: str) -> Call[bool]:
    """Remove an account with its tokens; its name stays taken. False when there was none."""
    return script("account_remove", name).then(bool)


def set_password(name: str, kept: str) -> Call[bool]:
    """Keep what `credentials.hashed` made of a password; False when there is no such account any more."""
    return script("account_set", name, "passwords", kept).then(bool)


def password(name: str) -> Call[str]:
    """What is kept of a password, '' where there is none."""
    return command("HGET", key("passwords"), name).then(lambda answer: (answer or b"").decode())


def try_login(name: str) -> Call[int]:
    """Count a login before it is looked at; how many there were of late that failed or are being looked at."""
    return script("try_login", name, FAILURES_KEPT).then(int)


def login_was_right(name: str) -> Call[Any]:
    """Take one that succeeded out of the count."""
    return script("login_was_right", name)


def keep_token(user: str, fingerprint: str, token: Token) -> Call[bool]:
    """Keep a token by its fingerprint; False when there is no such account any more."""
    expiry = "" if token.expires_at is None else int(token.expires_at)
    return script("token_keep", user, fingerprint, token.to_json(), expiry).then(bool)


def revoke(user: str, fingerprint: str) -> list[Call[Any]]:
    """Make a token void."""
    return [
        command("DEL", key("token", fingerprint)),
        command("HDEL", key("tokens", user), fingerprint),
        command("HDEL", key("token_used", user), fingerprint),
    ]


def tokens(user: str) -> Call[dict[str, Token]]:
    """The tokens of an account by fingerprint, expired ones among them."""
    call = command("HGETALL", key("tokens", user))
    return call.then(lambda answer: {k.decode(): Token.from_json(v) for k, v in _pairs(answer)})


def last_uses(user: str) -> Call[dict[str, float]]:
    """When the tokens of an account were last used, by fingerprint."""
    return command("HGETALL", key("token_used", user)).then(
        lambda answer: {k.decode(): float(v) for k, v in _pairs(answer)}
    )


def whose(fingerprint: str) -> Call[tuple[Account, Token] | None]:
    """The account that was given a token, whether or not it is disabled or the token has expired."""

    def read(answer: list[bytes]) -> tuple[Account, Token] | None:
        return (Account.from_json(answer[2]), Token.from_json(answer[1])) if answer else None

    return script("whose", fingerprint).then(read)


def owners(places: Sequence[str]) -> Call[dict[str, str]]:
    """Who owns these places; those without an owner are left out."""
    call = command("HMGET", key("owners"), *places)
    return call.then(
        lambda answer: {
            where: who.decode() for where, who in zip(places, answer, strict=True) if who is not None
        }
    )


def claim(place: str, user: str) -> Call[bool]:
    """Make somebody the owner of a place that has none; False when it has one."""
    return command("HSETNX", key("owners"), place, user).then(bool)


def give(place: str, user: str) -> Call[Any]:
    """Make somebody the owner of a place, or with '' nobody."""
    if not user:
        return command("HDEL", key("owners"), place)
    return command("HSET", key("owners"), place, user)


def _pairs(answer: Any) -> list[tuple[bytes, bytes]]:
    if isinstance(answer, dict):
        return list(answer.items())
    return list(zip(answer[::2], answer[1::2], strict=True))
