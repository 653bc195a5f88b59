"""Calls about deployed services: their descriptions and what is counted about them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from backend.errors import NotFound
from backend.service import Description, parse
from backend.store.announcements import announce
from backend.store.call import Call, command, script, source
from backend.store.keys import key


@dataclass(frozen=True, slots=True)
class Deployed:
    """A service as the store knows it. `token` is its own token; times are seconds since the epoch.

    `front_end_token` is what its front ends begin sessions with, for people that a proxy has asked.

    `served`: a supervisor has looked after it; `trouble`: why no instance of it comes up, empty when nothing is wrong.
    """

    description: Description
    token: str
    created_at: float
    stopped: bool = False
    served: bool = False
    trouble: str = ""
    front_end_token: str = ""


def save(
    description: Description,
    *,
    token: str,
    front_end_token: str,
    created_at: float,
    stopped: bool = False,
) -> list[Call[Any]]:
    """Deploy a service or replace its description; its queue and its tasks stay as they are.

    `front_end_token` and `created_at` are those of a new one: one that is there keeps its own.
    """
    name = key("service", description.name)
    return [
        command(
            "HSET",
            name,
            *("description", json.dumps(description.raw), "token", token, "stopped", int(stopped)),
        ),
        command("HSETNX", name, "created_at", created_at),
        command("HSETNX", name, "front_end_token", front_end_token),
        command("SADD", key("services"), description.name),
        announce("service", description.name, description.name),
    ]


def keep_front_end_token(name: str, token: str) -> list[Call[Any]]:
    """Give a service that has none, as an older lorapool deployed it, the credential of its front ends."""
    return [
        command("HSETNX", key("service", name), "front_end_token", token),
        announce("service", name, name),
    ]


def replace_front_end_token(name: str, token: str) -> list[Call[Any]]:
    """Another credential for its front ends; the one that they have is void."""
    return [command("HSET", key("service", name), "front_end_token", token), announce("service", name, name)]


def set_stopped(name: str, stopped: bool) -> list[Call[Any]]:
    """Whether a service may have instances; what is queued stays queued."""
    return [command("HSET", key("service", name), "stopped", int(stopped)), announce("service", name, name)]


def note_served(name: str, trouble: str) -> Call[Any]:
    """A supervisor looks after this service; `trouble` is why no instance of it comes up, '' when nothing is wrong."""
    return script("serve", name, trouble)


def names() -> Call[list[str]]:
    """Every deployed service."""
    return command("SMEMBERS", key("services")).then(lambda answer: sorted(item.decode() for item in answer))


@lru_cache(maxsize=256)
def _described(text: str) -> Description:
    """Every query and every pass of the supervisor reads its service: what has not changed is not parsed again."""
    return parse(json.loads(text)).description


def get(name: str) -> Call[Deployed]:
    """One service. Reading raises NotFound."""

    def needed(found: Deployed | None) -> Deployed:
        if found is None:
            raise NotFound(f"there is no service {name!r}")
        return found

    return maybe(name).then(needed)


def maybe(name: str) -> Call[Deployed | None]:
    """One service, or None."""

    def read(answer: Any) -> Deployed | None:
        pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
        fields = {field.decode(): value.decode() for field, value in pairs}
        if "description" not in fields:
            return None
        return Deployed(
            _described(fields["description"]),
            fields.get("token", ""),
            float(fields.get("created_at") or 0),
            fields.get("stopped") == "1",
            fields.get("served") == "1",
            fields.get("trouble", ""),
            fields.get("front_end_token", ""),
        )

    return command("HGETALL", key("service", name)).then(read)


def forget(name: str) -> list[Call[Any]]:
    """Remove a service: nothing can be put any more, what waits is cancelled, what runs is asked to stop."""
    return [command("EVAL", source("remove"), 0, name)]
