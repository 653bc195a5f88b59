"""Accounts, tokens, rights, and what was done by whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitsView:
    """What an account may have at once, and use in a day (UTC); null: no limit."""

    running: int | None = None
    queued: int | None = None
    gpu_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """What an account has at present, and the GPU-seconds that it has used today (UTC)."""

    running: int = 0
    queued: int = 0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account. `name` is empty for the deployment's and services' own tokens; `services` is null: all.

    `commands`: whether its tasks may be any command. `password`: whether it can log in with one.
    """

    name: str
    role: str
    limits: LimitsView
    usage: AccountUsage
    services: list[str] | None = None
    commands: bool = False
    disabled: bool = False
    password: bool = False
    created_at: float | None = None


@dataclass(frozen=True, slots=True)
class AccountList:
    """Accounts by name."""

    users: list[AccountView]


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token of an account. `token` is the secret itself, and there in the answer that made it alone.

    `kind` is `session` for one that a login made. `services` is what it narrows its account to, null: nothing.
    """

    id: str
    name: str
    kind: str
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None
    services: list[str] | None = None
    current: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class TokenList:
    """Tokens, newest first."""

    tokens: list[TokenView]


@dataclass(frozen=True, slots=True)
class SessionView:
    """A login: the token of the session, whose it is, and until when."""

    token: str
    user: str
    role: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class AccessView:
    """What may be done with paths of the data folder: `change`, `read` or `none`; and whose they are, where known."""

    access: dict[str, str]
    owners: dict[str, str]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who (`who`, empty: the deployment's or a service's token, which `role` tells) did what to what, from where.

    `status` is what was answered: 401 and 403 are what was refused.
    """

    id: str
    at: float
    who: str
    role: str
    did: str
    to: str
    source: str
    status: int


@dataclass(frozen=True, slots=True)
class AuditList:
    """Entries, newest first; `next` is where to go on, null at the end."""

    entries: list[AuditEntry]
    next: str | None = None
