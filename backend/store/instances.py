"""Calls about instances: their life, their lease, what they hold; and which supervisor leads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from backend.instance import INSTANCE_TRANSITIONS, Instance, InstanceState, Place
from backend.store.announcements import announce
from backend.store.call import Argument, Call, command, script
from backend.store.keys import key
from backend.task import Stop, TaskState

PAST_KEPT = 200
INIT_LINES, INIT_LOG_SECONDS = 2000, 7 * 86_400


def create(
    instance: str, service: str, *, slots: int, launcher: str, host: str, device: str, created_at: float
) -> list[Call[Any]]:
    """Note an instance that is about to be started on `host`."""
    return [
        command(
            "HSET",
            key("instance", instance),
            *("state", InstanceState.STARTING.value, "service", service, "slots", slots),
            *("launcher", launcher, "host", host, "device", device, "created_at", created_at),
        ),
        command("SADD", key("instances"), instance),
    ]


def enter(
    instance: str, state: InstanceState, fields: Mapping[str, Argument] | None = None, *, reason: str = ""
) -> Call[InstanceState | None]:
    """Move an instance to `state` if its present one allows it. The state after this; None when it is unknown."""
    origins = ",".join(s.value for s, after in INSTANCE_TRANSITIONS.items() if state in after)
    pairs = [part for pair in (fields or {}).items() for part in pair]
    call = script("instance_state", instance, origins, state.value, "reason", reason, *pairs)
    return call.then(lambda answer: InstanceState(answer.decode()) if answer else None)


def ready(instance: str, place: Place, device: str = "") -> Call[InstanceState | None]:
    """The instance is up at `place`, and takes tasks; `device` where it knows better than its order."""
    where: dict[str, Argument] = {
        "host": place.host,
        "pid": place.pid,
        "pid_started_at": repr(place.started_at),
        **({"device": device} if device else {}),
    }
    return enter(instance, InstanceState.IDLE, {"ready_at": "@now", "idle_since": "@now", **where})


@dataclass(frozen=True, slots=True)
class Orders:
    """What an instance hears when it renews its lease.

    `tasks` maps each task it holds to how it is to end ('stop', 'save'), to None when it is to go on, or to 'lost'
    when it is another's now. `running` maps those that run, as the store knows it, to their attempts.
    """

    state: InstanceState
    tasks: dict[str, Stop | Literal["lost"] | None]
    running: dict[str, int]


def renew(instance: str, seconds: float, vitals: str = "") -> Call[Orders]:
    """Say that the instance lives for another `seconds`, and hear what is wanted of it.

    `vitals` is JSON of `backend.worker.vitals.Vitals`, empty when there is nothing new.
    """

    def read(answer: list[bytes]) -> Orders:
        state, *words = [word.decode() for word in answer]
        held = list(zip(words[::3], words[1::3], words[2::3], strict=True))
        return Orders(
            InstanceState(state),
            {task: cast(Stop, order) if order else None for task, order, _ in held},
            {task: int(attempt) for task, _, attempt in held if attempt},
        )

    return script("lease", instance, int(seconds * 1000), vitals).then(read)


def gone(instance: str, reason: str, *, counted: bool, max_delivery: int) -> Call[dict[str, TaskState]]:
    """The instance is no more; what it held goes back. The tasks concerned, with their states after this."""

    def read(answer: list[bytes]) -> dict[str, TaskState]:
        words = [word.decode() for word in answer]
        return {task: TaskState(state) for task, state in zip(words[::2], words[1::2], strict=True) if state}

    return script("gone", instance, reason, int(counted), max_delivery, PAST_KEPT).then(read)


def ids() -> Call[list[str]]:
    """Every instance that is not gone."""
    return command("SMEMBERS", key("instances")).then(lambda answer: sorted(item.decode() for item in answer))


def present() -> Call[list[Instance]]:
    """Every instance that is not gone, by id, in one look."""
    return some(())


def some(of: Sequence[str]) -> Call[list[Instance]]:
    """Those of these ids that are known, or without any id all that are not gone, by id, in one look."""

    def read(answer: bytes) -> list[Instance]:
        found = []
        for name, fields, held, lease in json.loads(answer.decode("utf-8", "replace")):
            flat = list(fields)  # what is empty is an object in JSON written by Lua
            text = dict(zip(flat[::2], flat[1::2], strict=True))
            instance = _instance(name, text, list(held), lease)
            if instance is not None:
                found.append(instance)
        return sorted(found, key=lambda each: each.id)

    return script("instances", *of).then(read)


def past(limit: int = 20) -> Call[list[str]]:
    """Instances that are gone, newest first."""
    return command("LRANGE", key("past"), 0, limit - 1).then(
        lambda answer: [item.decode() for item in answer]
    )


def held(instance: str) -> Call[list[str]]:
    """The tasks that an instance has been given and has not ended."""
    return command("SMEMBERS", key("held", instance)).then(
        lambda answer: sorted(item.decode() for item in answer)
    )


def details(instance: str) -> list[Call[Any]]:
    """The three reads that `assemble` makes an instance of."""
    return [
        command("HGETALL", key("instance", instance)),
        command("SMEMBERS", key("held", instance)),
        command("PTTL", key("lease", instance)),
    ]


def assemble(instance: str, answers: Sequence[Any]) -> Instance | None:
    """An instance from the answers to `details`; None when it is unknown."""
    fields, held, lease = answers
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    text = {name.decode(): value.decode() for name, value in pairs}
    return _instance(instance, text, [item.decode() for item in held], lease)


def _instance(instance: str, text: Mapping[str, str], held: Sequence[str], lease: int) -> Instance | None:
    if "state" not in text:
        return None
    place = None
    if text.get("pid"):
        place = Place(text["host"], int(text["pid"]), float(text["pid_started_at"]))
    return Instance(
        id=instance,
        service=text["service"],
        state=InstanceState(text["state"]),
        created_at=float(text["created_at"]),
        slots=int(text.get("slots", 1)),
        tasks=tuple(sorted(held)),
        ready_at=_time(text.get("ready_at")),
        idle_since=_time(text.get("idle_since")),
        place=place,
        device=text.get("device", ""),
        loaded=tuple(json.loads(text.get("loaded") or "[]")),
        load_seconds=float(text.get("load_seconds") or 0.0),
        launcher=text.get("launcher", "local"),
        host=text.get("host", ""),
        lease_left=max(0, lease) / 1000,
        reason=_why(text),
        version=text.get("version", ""),
        unfit=bool(text.get("unfit")),
        completed=int(text.get("completed") or 0),
        run_group=int(text.get("run_group") or 0),
        run_started_at=float(text.get("run_started_at") or 0.0),
        draining_since=_time(text.get("draining_since")),
        preparation=float(text.get("preparation") or 0.0),
        vitals=json.loads(text.get("vitals") or "{}"),
    )


def note_run(instance: str, group: int, started_at: float) -> Call[Any]:
    """Note the process group of what the instance runs, so that it can be ended should the instance die."""
    return command("HSET", key("instance", instance), "run_group", group, "run_started_at", repr(started_at))


def note_host(instance: str, host: str, device: str) -> Call[Any]:
    """Note on which machine an instance comes up that was ordered from elsewhere, and what it was given there."""
    return command("HSET", key("instance", instance), "host", host, "device", device)


def note_loaded(instance: str, loaded: Sequence[str], load_seconds: float = 0.0) -> Call[Any]:
    """Note which models the instance holds warm, and how long loading another takes; 0 when that is not known."""
    name, said = key("instance", instance), json.dumps(list(loaded))
    return command("HSET", name, "loaded", said, "load_seconds", load_seconds)


def note_version(instance: str, version: str) -> Call[Any]:
    """Note which version of its service's description the instance was started by."""
    return command("HSET", key("instance", instance), "version", version)


def note_start(instance: str, text: str) -> Call[Any]:
    """Note what the start of an instance waits for. It is its `reason` as long as it is starting."""
    return command("HSET", key("instance", instance), "start", text)


def note_preparation(instance: str, seconds: float) -> Call[Any]:
    """Note for how long an instance may prepare itself, beyond what a start may take in any case."""
    return command("HSET", key("instance", instance), "preparation", repr(seconds))


def add_to_init_log(instance: str, lines: Sequence[str]) -> list[Call[Any]]:
    """Add lines to what an instance's preparation has said; the last of them are kept, for some days."""
    name = key("init_log", instance)
    return [
        command("RPUSH", name, *lines),
        command("LTRIM", name, -INIT_LINES, -1),
        command("EXPIRE", name, INIT_LOG_SECONDS),
    ]


def init_log(instance: str) -> Call[list[str]]:
    """What an instance's preparation has said; empty where there was none."""
    return command("LRANGE", key("init_log", instance), 0, -1).then(
        lambda answer: [line.decode("utf-8", "replace") for line in answer]
    )


def note_unfit(instance: str, service: str, why: str) -> list[Call[Any]]:
    """Note why an instance that is up takes no tasks at present, '' when it does again."""
    return [
        command("HSET", key("instance", instance), "unfit", why),
        announce("instance", instance, service),
    ]


def lead(supervisor: str, seconds: float) -> Call[bool]:
    """Become, or stay, the supervisor that leads; False while another does."""
    return script("leader", supervisor, int(seconds * 1000)).then(bool)


def leader() -> Call[str | None]:
    """Who leads, as it named itself."""
    return command("GET", key("leader")).then(lambda answer: answer.decode() if answer is not None else None)


def resign(supervisor: str) -> Call[Any]:
    """Stop leading, so that another need not wait for the lease to end."""
    return script("resign", supervisor)


def _why(text: Mapping[str, str]) -> str:
    starting = text["state"] == InstanceState.STARTING.value
    return text.get("unfit") or text.get("reason") or (text.get("start", "") if starting else "")


def _time(text: str | None) -> float | None:
    return float(text) if text else None


def orders(instance: str) -> str:
    """The channel on which an instance hears that there is something to look up."""
    return key("control", instance)


def nudge(instance: str) -> Call[Any]:
    """Have an instance ask for its orders now."""
    return command("PUBLISH", orders(instance), "")
