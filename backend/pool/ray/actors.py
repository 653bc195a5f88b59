"""What runs on the nodes. Both actors are detached and have names, so that another supervisor finds them.

    Keeper          one on each node that has had an instance: owns the two templates of that node
    InstanceActor   one for each instance: holds its GPUs, forks it from the templates, sees its end

An instance leaves, saved and handed back, when its actor is gone: whether that was killed, or Ray's own process on the
node died. When the node is gone, so is the instance.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from backend import paths
from backend.errors import LorapoolError
from backend.instance import Place
from backend.pool import devices
from backend.pool.ending import end_process
from backend.pool.template import fork_child
from backend.pool.templates import Templates
from backend.processes import alive

KEEPER, INSTANCE = "keeper-", "instance-"
_FORK_DEADLINE = 60.0
_LINGER = 5.0
_LOG = "instance-{}.log"


@ray.remote(num_cpus=0, max_restarts=0)
class Keeper:
    """The templates of one node."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="lorapool-ray-"))  # short: for sockets
        self._templates = Templates(self._folder, self._folder)
        self._templates.tend()

    def sockets(self) -> tuple[str, str]:
        """Where the plain template and the one for trainings listen; one that died is started again."""
        self._templates.tend()
        return str(self._templates.plain), str(self._templates.training)

    def close(self) -> None:
        """End the templates and leave nothing behind."""
        self._templates.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def keeper_here() -> Any:
    """The keeper of this node, made if there is none."""
    node = ray.get_runtime_context().get_node_id()
    return Keeper.options(  # type: ignore[attr-defined]
        name=KEEPER + node,
        lifetime="detached",
        get_if_exists=True,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote()


@ray.remote(max_restarts=0, max_concurrency=4)
class InstanceActor:
    """One instance. `order` has `instance`, `service`, `data_dir` and `environment`."""

    def __init__(self, order: dict[str, Any]) -> None:
        data_dir = Path(order["data_dir"])
        if not data_dir.is_dir():
            raise LorapoolError(
                f"the data folder {data_dir} is not on this node: share it under the same path on all of them"
            )
        cards = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
        self._device = f"cuda:{','.join(cards)}" if cards else "cpu"
        self._ended = threading.Event()
        self._heard = threading.Event()
        self._life, life = os.pipe()
        owner, self._owner = os.pipe()
        try:
            self._place = self._fork(order, data_dir, life, owner)
        finally:
            os.close(life)
            os.close(owner)
        threading.Thread(target=self._watch, daemon=True).start()

    def _fork(self, order: dict[str, Any], data_dir: Path, life: int, owner: int) -> Place:
        plain, training = ray.get(keeper_here().sockets.remote(), timeout=_FORK_DEADLINE)
        logs = data_dir / paths.LOGS
        logs.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        output = os.open(logs / _LOG.format(order["instance"]), flags, 0o600)
        try:
            return fork_child(
                Path(plain),
                "backend.worker.agent:main",
                {
                    "instance": order["instance"],
                    "service": order["service"],
                    "plain_template": plain,
                    "training_template": training,
                },
                environment={
                    **os.environ,
                    **order["environment"],
                    **devices.environment(self._device),
                    "LORAPOOL_DEVICE": self._device,
                },
                cwd=data_dir,
                descriptors={"life": life, "owner": owner, "stdout": output, "stderr": output},
                deadline=_FORK_DEADLINE,
            )
        finally:
            os.close(output)

    def _watch(self) -> None:
        os.read(self._life, 1)
        self._ended.set()
        # Whoever waits is answered first; when nobody does, the GPUs are free all the same.
        self._heard.wait(_LINGER)
        os._exit(0)

    def place(self) -> str:
        """The node on which it is."""
        return str(ray.get_runtime_context().get_node_id())

    def wait(self) -> str:
        """Blocks until the instance has ended; why."""
        self._ended.wait()
        return "its process ended unexpectedly"

    def stop(self) -> None:
        """Ask the instance to leave."""
        if alive(self._place):
            os.kill(self._place.pid, signal.SIGTERM)

    def end(self, run_group: int, run_started_at: float) -> bool:
        """Kill the instance and what it runs; whether nothing is left."""
        return end_process(self._place, run_group, run_started_at)
