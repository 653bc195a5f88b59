"""The launcher of a Ray cluster: an instance is an actor, which Ray gives a place and its GPUs.

It answers from what `driver.py` has last said. When the driver ends, or says nothing for `SILENCE` seconds, another
is started, and finds by their names what runs; orders that nobody has carried out yet are given again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import InvalidInput
from backend.instance import Instance, InstanceState
from backend.pool.launcher import Exit, Order, Progress
from backend.pool.ray.needs import Needs, Node, could_ever, needs_of, room
from backend.processes import die_with_parent, wait_until
from backend.service import Description
from backend.settings import Settings

log = logging.getLogger("lorapool.ray")

SILENCE = 60.0
"""Seconds without a word of the driver after which it is replaced."""

GROWTH = 900.0
"""Seconds that the autoscaler of a cluster is given to add a node."""

_KILL_WAIT = 3.0
_CLOSE_WAIT = 15.0
_PAUSE = 5.0
_KEPT = 1000


@dataclass
class _Known:
    """An instance of ours. `node` is '' until it has a place."""

    needs: Needs
    since: float
    message: dict[str, Any] | None = None
    node: str = ""
    up: bool = False


class RayLauncher:
    """See `Launcher`. `deployment` reads the deployment's name from the store; it may raise StoreUnavailable."""

    name = "ray"
    host = ""

    def __init__(
        self, settings: Settings, deployment: Callable[[], str], on_change: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._read_deployment = deployment
        self._on_change = on_change
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._exits: list[Exit] = []
        self._over: dict[str, bool] = {}
        self._there: set[str] | None = None
        self._strays: set[str] = set()
        self._nodes: list[Node] = []
        self._free: dict[str, float] = {}
        self._process: subprocess.Popen[str] | None = None
        self._heard_at = time.monotonic()
        self._begin_at = 0.0

    # orders

    def start(self, order: Order) -> None:
        """Order an actor."""
        if self.holds(order.instance):
            return
        needs = self._needs(order.description)
        message = {
            "do": "start",
            "instance": order.instance,
            "options": needs.options(),
            "order": {
                "instance": order.instance,
                "service": order.service,
                "data_dir": str(self._settings.data_dir),
                "environment": self._settings.environment(),
            },
        }
        with self._lock:
            self._known[order.instance] = _Known(needs, time.time(), message)
            self._over.pop(order.instance, None)
        self._send(message)

    def stop(self, instance: Instance) -> None:
        """Ask an instance to leave, through its actor."""
        if instance.launcher == self.name:
            self._send({"do": "stop", "instance": instance.id})

    def kill(self, instance: Instance) -> bool:
        """End an instance and its actor; False while its node does not say that nothing is left."""
        if instance.launcher != self.name or self._is_over(instance):
            return True
        self._send(
            {
                "do": "kill",
                "instance": instance.id,
                "group": instance.run_group,
                "started_at": instance.run_started_at,
            }
        )
        return wait_until(lambda: self._is_over(instance), _KILL_WAIT)

    def _is_over(self, instance: Instance) -> bool:
        """Whether nothing of it can be left: it said so, or there is no such actor and its lease is over as well."""
        with self._lock:
            if self._over.get(instance.id):
                return True
            absent = self._there is not None and instance.id not in self._there
            silent = instance.place is None or instance.lease_left <= 0
            return absent and silent and instance.id not in self._known

    # what is known

    def adopt(self, instance: Instance) -> bool:
        """Watch an instance of an earlier supervisor; False when the cluster has no actor of its name."""
        if instance.launcher != self.name:
            return True
        with self._lock:
            if self._there is None or instance.id in self._known:
                return True
            if instance.id not in self._there:
                return False
            self._known[instance.id] = _Known(Needs({}), time.time(), up=True)
        log.info("instance %s of %s goes on", instance.id, instance.service)
        return True

    def holds(self, instance: str) -> bool:
        """Whether this launcher ordered or adopted the instance, and has not told its end."""
        with self._lock:
            return instance in self._known or any(each.instance == instance for each in self._exits)

    def exits(self) -> list[Exit]:
        """Instances that ended since the last call."""
        with self._lock:
            exits, self._exits = self._exits, []
        return exits

    def progress(self) -> Mapping[str, Progress]:
        """A start waits for the cluster, for room on a node, then for its process."""
        with self._lock:
            starts = {name: known for name, known in self._known.items() if not known.up}
            return {name: self._stage(known) for name, known in starts.items()}

    def _stage(self, known: _Known) -> Progress:
        if self._there is None:
            return Progress(f"the Ray cluster at {self._address} does not answer", known.since)
        if known.node:
            return Progress(f"its process starts on Ray node {known.node[:8]}", known.since)
        patience = GROWTH if self._settings.ray_grows else 0.0
        if not could_ever(self._nodes, known.needs):
            text = f"no Ray node has {known.needs.words()}"
        elif room(self._nodes_free(), known.needs) < 1:
            text = f"every Ray node with {known.needs.words()} is taken"
        else:
            text = f"Ray finds it a node with {known.needs.words()}"
        return Progress(text, known.since, patience)

    def free_devices(self, taken: Sequence[str], description: Description) -> list[str] | None:
        """One for each instance that the nodes have room for; without limit where the cluster grows by itself."""
        if self._settings.ray_grows:
            return None
        needs = self._needs(description)
        with self._lock:
            free = self._nodes_free()
            ordered = sum(not known.node and not known.up for known in self._known.values())
            scarce = [self._free.get(name, 0.0) / n for name, n in needs.amounts.items()]
            count = min([room(free, needs), *(int(each + 1e-6) for each in scarce)])
        return [""] * max(0, count - ordered)

    def _needs(self, description: Description) -> Needs:
        with self._lock:
            return needs_of(description, gpus=any(node.total.get("GPU") for node in self._nodes))

    def _nodes_free(self) -> list[Node]:
        """The nodes without what our own instances hold there."""
        nodes = []
        for node in self._nodes:
            free = dict(node.total)
            for known in self._known.values():
                if known.node == node.id:
                    for name, amount in known.needs.amounts.items():
                        free[name] = free.get(name, 0.0) - amount
            nodes.append(Node(node.id, node.address, free, node.total, node.labels))
        return nodes

    @property
    def connected(self) -> bool:
        """Whether the cluster has answered."""
        return self._there is not None

    @property
    def actors(self) -> set[str]:
        """Instances of which the cluster has an actor, as it last said."""
        with self._lock:
            return set(self._there or ())

    def node_of(self, instance: str) -> str:
        """Ray's id of the node on which an instance is; '' when it is not known."""
        with self._lock:
            return self._known[instance].node if instance in self._known else ""

    # the driver

    def tend(self, present: Sequence[Instance]) -> None:
        """Keep a driver at work, and end actors of instances that the store does not know any more."""
        states = {instance.id: instance.state for instance in present}
        with self._lock:
            for name, known in self._known.items():
                known.up = known.up or states.get(name, InstanceState.STARTING) is not InstanceState.STARTING
            unknown = (self._there or set()) - states.keys() - self._known.keys()
            ending, self._strays = unknown & self._strays, unknown
        self._keep_driver()
        for name in ending:
            self._send({"do": "kill", "instance": name, "group": 0, "started_at": 0.0})

    def _keep_driver(self) -> None:
        silent = time.monotonic() - self._heard_at > SILENCE
        if self._process is not None and self._process.poll() is None and not silent:
            return
        if time.monotonic() < self._begin_at:
            return
        self._end_driver()
        self._begin_at = time.monotonic() + _PAUSE
        self._begin(self._read_deployment())

    def _begin(self, deployment: str) -> None:
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
        # Its log tells what Ray says; the driver must not be hit by the Ctrl-C that is meant for us.
        with (self._settings.data_dir / "logs" / "ray-driver.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backend.pool.ray.driver", self._address, f"lorapool-{deployment}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **quiet},
                start_new_session=True,
                preexec_fn=die_with_parent(),
                text=True,
            )
        self._heard_at = time.monotonic()
        threading.Thread(target=self._hear, args=(self._process,), name="ray-driver", daemon=True).start()
        with self._lock:
            again = [known.message for known in self._known.values() if known.message and not known.node]
        for message in again:
            self._send(message)

    @property
    def _address(self) -> str:
        return self._settings.ray_address or "auto"

    def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        # A driver that has just ended is replaced, and told again what counts.
        with contextlib.suppress(OSError, ValueError):
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()

    def _hear(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if process is not self._process:
                    continue
                self._heard_at = time.monotonic()
                if line.endswith("\n"):  # what a driver was killed in the middle of is no news
                    self._take(json.loads(line))
        with self._lock:
            if process is self._process:
                self._there = None

    def _take(self, news: dict[str, Any]) -> None:
        with self._lock:
            match news["event"]:
                case "looked":
                    changed = self._looked(news)
                case "placed":
                    changed = self._placed(news["instance"], news["node"])
                case _:
                    self._ended(news["instance"], news["reason"], sure=news.get("sure", True))
                    changed = True
        if changed:
            self._on_change()

    def _looked(self, news: dict[str, Any]) -> bool:
        """What there is. Those that had a place and have no actor any more are gone, without a word."""
        first = self._there is None
        before = {node.id for node in self._nodes}
        self._there = set(news["instances"])
        self._nodes = [
            Node(each["id"], each["address"], each["total"], each["total"], each["labels"])
            for each in news["nodes"]
        ]
        self._free = news["free"]
        placed = {name for name, known in self._known.items() if known.node or known.up}
        gone = placed - self._there
        for name in gone:
            self._ended(name, "its Ray actor is gone", sure=False)
        return first or bool(gone) or before != {node.id for node in self._nodes}

    def _placed(self, name: str, node: str) -> bool:
        known = self._known.get(name)
        if known is None or known.node:
            return False
        known.node, known.message = node, None
        if not known.up:
            known.since = time.time()
        return True

    def _ended(self, name: str, reason: str, *, sure: bool) -> None:
        if self._known.pop(name, None) is not None:
            self._exits.append(Exit(name, reason))
        if sure:
            if self._there is not None:
                self._there.discard(name)
            self._over[name] = True
            while len(self._over) > _KEPT:
                del self._over[next(iter(self._over))]

    def close(self) -> None:
        """End the driver, and the templates on the nodes where nobody needs them."""
        process = self._process
        if process is not None and process.poll() is None:
            self._send({"do": "close"})
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_CLOSE_WAIT)
        self._end_driver()

    def _end_driver(self) -> None:
        process, self._process = self._process, None
        with self._lock:
            self._there = None
        if process is None:
            return
        process.kill()
        process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()


def need_ray() -> None:
    """Raises InvalidInput where Ray is not installed."""
    try:
        import ray  # noqa: F401  (an extra; it takes a second)
    except ImportError:
        raise InvalidInput(
            "instances on Ray need the extra `ray`: pip install 'lorapool[ray]'; nothing was started"
        ) from None
