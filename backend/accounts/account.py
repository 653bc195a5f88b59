"""An account: a name, a role, limits, and which services it covers."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from enum import StrEnum

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
"""Names as people, mail addresses and proxies have them; one can stand in a path and in a log line as it is."""


class Role(StrEnum):
    """`admin`: everything. `member`: own work. `viewer`: looks, and changes nothing."""

    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that an account may have at once, and use in a day (UTC); None: no limit."""

    running: int | None = None
    queued: int | None = None
    gpu_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A person or a program that has tokens. `services` is what it covers, empty: all.

    `commands`: whether it may run any command on the instances, which can read whatever lies in the data folder;
    without it a member trains, draws and uses the tools.
    """

    name: str
    role: Role = Role.MEMBER
    limits: Limits = field(default_factory=Limits)
    services: frozenset[str] = frozenset()
    commands: bool = False
    disabled: bool = False
    created_at: float = 0.0

    def to_json(self) -> str:
        """As the store keeps it."""
        return json.dumps({**asdict(self), "services": sorted(self.services)})

    @classmethod
    def from_json(cls, text: str | bytes) -> Account:
        """From what the store has kept."""
        said = json.loads(text)
        return cls(
            **{
                **said,
                "role": Role(said["role"]),
                "limits": Limits(**said["limits"]),
                "services": frozenset(said["services"]),
            }
        )


def over(limits: Limits, running: int, gpu_seconds: float, who: str) -> str:
    """Why tasks wait although an instance may be free, in words that follow `waits:`; '' when limits allow them.

    `who` is `you` or a name.
    """
    has = "you have" if who == "you" else f"{who} has"
    if limits.gpu_seconds is not None and gpu_seconds >= limits.gpu_seconds:
        return f"{has} used {gpu_seconds:.0f} of {limits.gpu_seconds:.0f} GPU-seconds today; goes on at midnight UTC"
    if limits.running is not None and running >= limits.running:
        return f"{has} {running} of {limits.running} tasks running"
    return ""


def valid_name(name: str) -> bool:
    """Whether a text may be an account's name."""
    return NAME.fullmatch(name) is not None
