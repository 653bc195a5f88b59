"""A service of a gateway: what is put into it, and what is changed about it."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from backend import generation
from backend.client.task import TaskHandle
from backend.generation import Generation, GridRun
from backend.views import HistoryView, InitLogView, ServiceView, UsageView, read

if TYPE_CHECKING:
    from backend.client.client import Client


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a gateway."""

    client: Client
    name: str

    def view(self) -> ServiceView:
        """Its description and its counts."""
        return read(ServiceView, self.client.get(f"services/{quote(self.name, safe='')}"))

    def history(self, hours: float = 24.0, points: int = 600) -> HistoryView:
        """How long its queue was and how many instances it had, of the last hours, thinned out to `points`."""
        return read(HistoryView, self.client.get(self._path("history"), {"hours": hours, "points": points}))

    def init_log(self, instance: str = "") -> InitLogView:
        """What an instance printed while it prepared itself; the last that printed anything, if none is named."""
        return read(InitLogView, self.client.get(self._path("init-log"), {"instance": instance}))

    def usage(self) -> UsageView:
        """Seconds of instances that each user has had, the largest first."""
        return read(UsageView, self.client.get(self._path("usage")))

    def delete(self) -> ServiceView:
        """Remove it; its waiting tasks are cancelled, its running ones stopped."""
        return read(ServiceView, self.client.delete(f"services/{quote(self.name, safe='')}"))

    def update(self, description: Mapping[str, Any]) -> ServiceView:
        """Replace its description; its tasks, queues and token stay, and instances change as they become idle."""
        return read(ServiceView, self.client.put(self._path(), dict(description)))

    def stop(self) -> ServiceView:
        """Let its instances end what they run and leave; what is queued waits until it is started."""
        return read(ServiceView, self.client.post(self._path("stop"), repeat=True))

    def start(self) -> ServiceView:
        """Let it work again."""
        return read(ServiceView, self.client.post(self._path("start"), repeat=True))

    def renew_front_end_token(self) -> ServiceView:
        """Give its front ends another credential (`front_end_token` of the answer); the one they have is void."""
        return read(ServiceView, self.client.post(self._path("front-end-token")))

    def scale(self, instances: int) -> ServiceView:
        """Keep exactly so many instances."""
        body = {"instances": instances}
        return read(ServiceView, self.client.post(self._path("scale"), body, repeat=True))

    def autoscale(self, autoscaler: Mapping[str, Any] | None) -> ServiceView:
        """Set the rules of scaling as a description has them; None removes them."""
        path = self._path("autoscaler")
        answer = self.client.delete(path) if autoscaler is None else self.client.put(path, dict(autoscaler))
        return read(ServiceView, answer)

    def cronscale(self, cronscaler: Mapping[str, Any] | None) -> ServiceView:
        """Set scheduled scaling as a description has it; None removes it."""
        path = self._path("cronscaler")
        answer = self.client.delete(path) if cronscaler is None else self.client.put(path, dict(cronscaler))
        return read(ServiceView, answer)

    def _path(self, action: str = "") -> str:
        return f"services/{quote(self.name, safe='')}" + (f"/{action}" if action else "")

    def submit(
        self,
        *,
        argv: Sequence[str] | None = None,
        command: str | None = None,
        data: bytes | None = None,
        kind: Literal["command", "query"] = "command",
        name: str = "",
        files: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        user: str = "",
        priority: int = 0,
        environment: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> TaskHandle:
        """Queue a task: an argument list, a shell command, or bytes for the app.

        `files` (name -> text) are written into the task's job folder, `jobs/<id>/` in the data folder, first.

        Raises:
            InvalidArgument: the arguments of a training cannot work; nothing was queued.
            QueueFull: too many wait.
        """
        task_id = id or str(uuid.uuid4())
        body: dict[str, Any] = {
            "id": task_id,
            "kind": kind,
            "name": name,
            "user": user,
            "priority": priority,
            "tags": dict(tags or {}),
            "environment": dict(environment or {}),
            "files": dict(files or {}),
            "details": dict(details or {}),
        }
        if argv is not None:
            body["argv"] = list(argv)
        if command is not None:
            body["command"] = command
        if data is not None:
            body["data"] = base64.b64encode(data).decode()
        answer = self.client.post(f"services/{quote(self.name, safe='')}/tasks", body, repeat=True)
        return TaskHandle(self.client, answer["id"])

    def tool(self, *arguments: str, name: str = "", user: str = "", priority: int = 0) -> TaskHandle:
        """Queue a LoRA tool: `tool("resize", "cat", "--rank", "4")`. See `python -m backend.tools --help`.

        Raises:
            InvalidArgument: the tool does not take these arguments; nothing was queued.
        """
        from backend.tools.arguments import parser

        parser().parse_args(arguments)
        return self.submit(
            argv=["python", "-m", "backend.tools", *arguments],
            name=name or " ".join(arguments[:2]),
            user=user,
            priority=priority,
            details={"tool": arguments[0]},
        )

    def generate(
        self, prompt: str, *, user: str = "", priority: int = 0, name: str = "", **keys: Any
    ) -> Generation:
        """Queue a query for pictures to the built-in inference app; `wait()` for them.

        `keys` are those of docs/inference.md: model, loras (a dict of names to weights, too), width, height, steps,
        guidance, seed, count, scheduler, image (bytes, too), strength, preview_every, …

        Raises:
            InvalidArgument: a key is unknown or a value cannot be; nothing was queued.
        """
        return generation.generate(self, prompt, user=user, priority=priority, name=name, keys=keys)

    def grid(
        self,
        prompt: str,
        *,
        checkpoints: Sequence[str],
        weights: Sequence[float] = (1.0,),
        user: str = "",
        **keys: Any,
    ) -> GridRun:
        """Queue one query for each checkpoint at each weight, with the same seed; `arriving()` gives them as they come.

        Raises:
            InvalidArgument: as `generate`; nothing was queued.
        """
        return generation.grid(self, prompt, checkpoints=checkpoints, weights=weights, user=user, keys=keys)

    def checkpoints(self, task_id: str) -> list[str]:
        """The paths of every epoch that a training has saved, oldest first, for `grid`."""
        return generation.checkpoints_of(self.client.task(task_id))
