"""The launcher of one host: instances are processes, forked from the plain template in milliseconds."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from backend import paths
from backend.instance import Instance, Place
from backend.pool import devices
from backend.pool.ending import end_process
from backend.pool.launcher import Exit, Order, Progress
from backend.pool.template import fork_child
from backend.pool.templates import Templates
from backend.processes import alive
from backend.service import Description
from backend.settings import Settings
from backend.store.instances import PAST_KEPT

log = logging.getLogger("lorapool.pool")

_LOG = "instance-{}.log"
_FORK_DEADLINE = 20.0
_FORGET_EVERY = 60.0


class LocalLauncher:
    """Starts instances here. Their ends are noticed by the end of a pipe that each holds, at once.

    `on_change` is called then, from another thread. With `bound`, instances leave when this process is gone, as those
    do that were started by hand; without, they go on and another supervisor adopts them.
    """

    def __init__(
        self,
        settings: Settings,
        templates: Templates,
        on_change: Callable[[], None],
        *,
        name: str = "local",
        bound: bool = False,
    ) -> None:
        self.name = name
        self.host = socket.gethostname()
        self._settings = settings
        self._templates = templates
        self._on_change = on_change
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        self._adopted: set[str] = set()
        self._ended: list[Exit] = []
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._owner = os.pipe() if bound else None
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._forget_at = 0.0
        self._closing = False
        self._watcher = threading.Thread(target=self._watch, name="instance-watch", daemon=True)
        self._watcher.start()

    def start(self, order: Order) -> None:
        """Fork an instance from the plain template."""
        if self.holds(order.instance):
            return
        life_read, life_write = os.pipe()
        logs = self._settings.data_dir / paths.LOGS
        logs.mkdir(mode=0o700, exist_ok=True)
        output = os.open(logs / _LOG.format(order.instance), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with contextlib.suppress(OSError):  # a folder without locks: its start is judged by time alone
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            place = fork_child(
                self._templates.plain,
                "backend.worker.agent:main",
                {
                    "instance": order.instance,
                    "service": order.service,
                    "plain_template": str(self._templates.plain),
                    "training_template": str(self._templates.training),
                },
                environment={
                    **os.environ,
                    **self._settings.environment(),
                    **devices.environment(order.device),
                    "LORAPOOL_DEVICE": order.device,
                },
                cwd=self._settings.data_dir,
                descriptors={"life": life_write, "stdout": output, "stderr": output, **self._owned()},
                deadline=_FORK_DEADLINE,
            )
        except BaseException:
            os.close(life_read)
            raise
        finally:
            os.close(life_write)
            os.close(output)
        with self._lock:
            self._places[order.instance] = place
            self._selector.register(life_read, selectors.EVENT_READ, order.instance)
        os.write(self._wake_write, b".")

    def _owned(self) -> dict[str, int]:
        return {} if self._owner is None else {"owner": self._owner[0]}

    def stop(self, instance: Instance) -> None:
        """SIGTERM: the instance saves and hands back what it runs, then ends."""
        place = self._place(instance)
        if place is not None and alive(place):
            os.kill(place.pid, signal.SIGTERM)

    def kill(self, instance: Instance) -> bool:
        """SIGKILL to the instance; then see that its run's whole group is gone."""
        if not self._reaches(instance):
            return True
        place = self._place(instance)
        ended = end_process(place, instance.run_group, instance.run_started_at)
        with self._lock:
            self._adopted.discard(instance.id)
        return ended

    def adopt(self, instance: Instance) -> bool:
        """Watch an instance that another supervisor started here; False when its process is gone, or never was."""
        if not self._reaches(instance):
            return True
        if instance.place is None:
            return self.holds(instance.id) or self._has_process(instance.id)
        with self._lock:
            if instance.id in self._places:
                return True
            if not alive(instance.place):
                return False
            self._places[instance.id] = instance.place
            self._adopted.add(instance.id)
        log.info("instance %s of %s goes on", instance.id, instance.service)
        return True

    def _has_process(self, instance: str) -> bool:
        """Whether somebody may have the log of an instance open: its lock is held from its order to its end."""
        try:
            output = os.open(self._settings.data_dir / paths.LOGS / _LOG.format(instance), os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(output, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(output)
        return False

    def holds(self, instance: str) -> bool:
        """Whether this launcher started or adopted the instance, and has not told its end."""
        with self._lock:
            return instance in self._places

    def exits(self) -> list[Exit]:
        """Instances that ended since the last call."""
        with self._lock:
            for name in [n for n in self._adopted if not alive(self._places[n])]:
                self._adopted.discard(name)
                self._ended.append(Exit(name, "its process is gone"))
            ended, self._ended = self._ended, []
            for one in ended:
                self._places.pop(one.instance, None)
        return ended

    def progress(self) -> Mapping[str, Progress]:
        """Nothing: a fork takes milliseconds."""
        return {}

    def free_devices(self, taken: Sequence[str], description: Description) -> list[str] | None:
        """GPUs that no instance has; None on a host without any."""
        cards = devices.gpus()
        return [card for card in cards if card not in taken] if cards else None

    def _forget_logs(self, keep: int) -> None:
        """Remove the logs of instances but for those that run and the newest `keep`."""
        logs = {
            path: path.stat().st_mtime
            for path in (self._settings.data_dir / paths.LOGS).glob(_LOG.format("*"))
        }
        with self._lock:
            running = {_LOG.format(name) for name in self._places}
        for path in sorted(logs, key=lambda path: -logs[path])[keep:]:
            if path.name not in running:
                path.unlink(missing_ok=True)

    def tend(self, present: Sequence[Instance]) -> None:
        """Replace a template that died. What no supervisor knows any more ends by itself: it finds its lease over."""
        self._templates.tend()
        if time.monotonic() >= self._forget_at:
            self._forget_logs(PAST_KEPT)
            self._forget_at = time.monotonic() + _FORGET_EVERY

    def close(self) -> None:
        """End the templates and the watching thread."""
        self._closing = True
        os.write(self._wake_write, b".")
        self._watcher.join(2.0)
        self._templates.close()
        with self._lock:
            # Those of instances that go on, too: their ends are another launcher's business now.
            for descriptor in (*self._selector.get_map(), self._wake_write, *(self._owner or ())):
                os.close(descriptor)
            self._selector.close()

    def _place(self, instance: Instance) -> Place | None:
        if not self._reaches(instance):
            return None
        with self._lock:
            return self._places.get(instance.id) or instance.place

    def _reaches(self, instance: Instance) -> bool:
        return instance.launcher == self.name and instance.host == self.host

    def _watch(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select():
                if key.data is None:
                    os.read(key.fd, 4096)
                    continue
                if os.read(key.fd, 1):
                    continue
                with self._lock:
                    self._selector.unregister(key.fd)
                    os.close(key.fd)
                    self._ended.append(Exit(key.data, "its process ended unexpectedly"))
                self._on_change()
