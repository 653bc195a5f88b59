"""A process that talks to Ray for the supervisor: `python -m backend.pool.ray.driver ADDRESS NAMESPACE`.

A call to a cluster may block for minutes, or end the process that makes it; so it is made here. Commands come as
lines of JSON on standard input, news go out on standard output; when the input ends, so does this process, and the
actors go on without it.

    in    {"do": "start", "instance": …, "order": {…}, "options": {…}}   {"do": "stop", "instance": …}
          {"do": "kill", "instance": …, "group": 0, "started_at": 0.0}   {"do": "look", "strays": […]}
          {"do": "close"}
    out   {"event": "looked", "instances": […], "nodes": […], "free": {…}}    about once a second
          {"event": "placed", "instance": …, "node": …}
          {"event": "ended", "instance": …, "reason": …, "sure": true}        sure: nothing is left of it
          {"event": "refused", "instance": …, "reason": …}                    it could not be started
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from backend.pool.ray.actors import INSTANCE, KEEPER, InstanceActor

_LOOK = 1.0
_PATIENCE = 0.1
_CLOSING = 5.0


class Driver:
    """All calls to Ray are made by the thread that calls `run`."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        self._say = say
        self._orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._actors: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}
        self._refs: dict[Any, tuple[str, str]] = {}
        self._looked_at = 0.0

    def read(self, lines: TextIO) -> None:
        """Take commands until the input ends."""
        for line in lines:
            self._orders.put(json.loads(line))
        self._orders.put(None)

    def run(self) -> None:
        """Obey and watch until the input ends, or `close` is said."""
        while True:
            if time.monotonic() - self._looked_at > _LOOK:
                self._look()
            for order in self._next_orders():
                if order is None:
                    return
                if order["do"] == "close":
                    self._close_keepers()
                    return
                self._obey(order)
            self._hear()

    def _next_orders(self) -> list[dict[str, Any] | None]:
        orders: list[dict[str, Any] | None] = []
        with contextlib.suppress(queue.Empty):
            # With something to wait for at Ray, that is where this thread waits.
            orders.append(self._orders.get(timeout=0.001 if self._refs else _PATIENCE))
            while True:
                orders.append(self._orders.get_nowait())
        return orders

    def _obey(self, order: dict[str, Any]) -> None:
        name = order["instance"]
        match order["do"]:
            case "start":
                self._start(name, order)
            case "stop":
                if actor := self._find(name):
                    actor.stop.remote()
            case "kill":
                self._kill(name, order)

    def _start(self, name: str, order: dict[str, Any]) -> None:
        try:
            actor = InstanceActor.options(  # type: ignore[attr-defined]
                name=INSTANCE + name, lifetime="detached", get_if_exists=True, **order["options"]
            ).remote(order["order"])
        except (RayError, ValueError) as error:
            self._say({"event": "refused", "instance": name, "reason": str(error)})
            return
        self._attend(name, actor)

    def _attend(self, name: str, actor: Any) -> None:
        if name not in self._actors:
            self._actors[name] = actor
            self._refs[actor.place.remote()] = ("place", name)
            self._refs[actor.wait.remote()] = ("wait", name)

    def _find(self, name: str) -> Any:
        if name not in self._actors:
            with contextlib.suppress(ValueError):  # there is none of that name
                self._actors[name] = ray.get_actor(INSTANCE + name)
        return self._actors.get(name)

    def _kill(self, name: str, order: dict[str, Any]) -> None:
        actor = self._find(name)
        if actor is None:
            self._say({"event": "ended", "instance": name, "reason": "there is none", "sure": False})
        elif name not in self._nodes and ("place", name) in self._refs.values():
            # It has no place yet, so nothing that could be asked.
            self._forget(name, "it is not wanted any more", sure=True)
        else:
            self._refs[actor.end.remote(order["group"], order["started_at"])] = ("end", name)

    def _hear(self) -> None:
        """Take what Ray has to say of the calls under way."""
        if not self._refs:
            return
        ready, _ = ray.wait(list(self._refs), num_returns=1, timeout=_PATIENCE)
        for ref in ready:
            what, name = self._refs.pop(ref)
            try:
                self._answered(what, name, ray.get(ref, timeout=_PATIENCE))
            except GetTimeoutError:
                self._refs[ref] = (what, name)
            except (RayError, OSError) as error:
                if name in self._actors:
                    self._forget(name, self._why(name, error), sure=False)

    def _answered(self, what: str, name: str, answer: Any) -> None:
        if what == "place":
            self._nodes[name] = answer
            self._say({"event": "placed", "instance": name, "node": answer})
        elif what == "wait" and name in self._actors:
            # The actor stays for a moment, so that what is left of the instance can be ended through it.
            self._say({"event": "ended", "instance": name, "reason": answer, "sure": False})
        elif what == "end" and answer:
            self._forget(name, "it was ended", sure=True)

    def _forget(self, name: str, reason: str, *, sure: bool) -> None:
        actor = self._actors.pop(name, None)
        if actor is not None:
            with contextlib.suppress(RayError, ValueError):
                ray.kill(actor)
        self._refs = {ref: about for ref, about in self._refs.items() if about[1] != name}
        self._nodes.pop(name, None)
        self._say({"event": "ended", "instance": name, "reason": reason, "sure": sure})

    def _why(self, name: str, error: Exception) -> str:
        node = self._nodes.get(name)
        alive = {each["NodeID"]: each["Alive"] for each in ray.nodes()}
        if node is not None and not alive.get(node, False):
            return f"its Ray node {node[:8]} is lost"
        cause = getattr(error, "cause", None) if isinstance(error, RayTaskError) else None
        if cause is None and isinstance(error, RayActorError):
            cause = getattr(error, "cause", None) or error
        return f"its Ray actor ended: {_last_line(str(cause or error))}"

    def _look(self) -> None:
        """Say what there is: instances, nodes, free resources."""
        self._looked_at = time.monotonic()
        named = [each for each in ray.util.list_named_actors() if each.startswith(INSTANCE)]
        names = [each.removeprefix(INSTANCE) for each in named]
        for name in names:
            if name not in self._actors and (actor := self._find(name)) is not None:
                del self._actors[name]
                self._attend(name, actor)
        nodes = [
            {
                "id": node["NodeID"],
                "address": node["NodeManagerAddress"],
                "total": node["Resources"],
                "labels": node.get("Labels") or {},
            }
            for node in ray.nodes()
            if node["Alive"]
        ]
        self._say({"event": "looked", "instances": names, "nodes": nodes, "free": ray.available_resources()})

    def _close_keepers(self) -> None:
        """End the keepers, unless there are instances that still need them."""
        named = ray.util.list_named_actors()
        if any(each.startswith(INSTANCE) for each in named):
            return
        for name in named:
            if name.startswith(KEEPER):
                with contextlib.suppress(RayError, ValueError):
                    keeper = ray.get_actor(name)
                    ray.get(keeper.close.remote(), timeout=_CLOSING)
                    ray.kill(keeper)


def _last_line(text: str) -> str:
    """The line of a long error that says what it was."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "it did not say why"


def main(address: str, namespace: str) -> None:
    """Connect, then serve standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever Ray prints is no answer
    lock = threading.Lock()

    def say(what: dict[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(what) + "\n")
            answers.flush()

    driver = Driver(say)
    threading.Thread(target=driver.read, args=(sys.stdin,), daemon=True).start()
    ray.init(address=address or "auto", namespace=namespace, log_to_driver=False, configure_logging=False)
    driver.run()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
