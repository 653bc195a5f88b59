"""A gateway, as one token sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from backend.client.people import People
from backend.client.service import Service
from backend.client.task import TaskHandle
from backend.views import GenerationView, InfoView, InstanceView, ModelList, ServiceView, TaskView, read


class Client(People):
    """A gateway, as one token sees it. Safe to share between threads."""

    def info(self) -> InfoView:
        """What one is talking to."""
        return read(InfoView, self.get("info"))

    def services(self) -> list[ServiceView]:
        """The services that this token covers, by name."""
        return [read(ServiceView, each) for each in self.get("services")["services"]]

    def service(self, name: str) -> Service:
        """A service by name; nothing is asked yet."""
        return Service(self, name)

    def create_service(self, description: Mapping[str, Any]) -> ServiceView:
        """Create a service from its description, or replace the description of one that exists."""
        return read(ServiceView, self.post("services", dict(description), repeat=True))

    def tasks(
        self,
        service: str = "",
        *,
        state: Sequence[str] | str = (),
        user: str = "",
        limit: int = 50,
        before: int | None = None,
    ) -> list[TaskView]:
        """Tasks, newest first; with `before` those of smaller indexes."""
        states = state if isinstance(state, str) else ",".join(state)
        query = {"service": service, "state": states, "user": user, "limit": limit, "before": before}
        return [read(TaskView, each) for each in self.get("tasks", query)["tasks"]]

    def task(self, task_id: str) -> TaskHandle:
        """A task by id; nothing is asked yet."""
        return TaskHandle(self, task_id)

    def download_loras(self, to: str | Path, *, hours: float = 24.0, tasks: Sequence[str] = ()) -> Path:
        """Fetch the finished LoRAs of one's trainings of the last hours, or of these tasks, as one zip.

        Raises:
            NotFound: there is none.
        """
        query = {"tasks": ",".join(tasks)} if tasks else {"hours": f"{hours:g}"}
        return self.download(f"loras.zip?{urlencode(query)}", Path(to))

    def instances(self, service: str = "") -> list[InstanceView]:
        """Instances that are not gone."""
        found = self.get("instances", {"service": service})["instances"]
        return [read(InstanceView, each) for each in found]

    def decisions(self, service: str = "", *, limit: int = 100) -> list[dict[str, Any]]:
        """What the scaler decided and why, newest first."""
        decisions: list[dict[str, Any]] = self.get("decisions", {"service": service, "limit": limit})[
            "decisions"
        ]
        return decisions

    def events(self) -> Iterator[dict[str, str]]:
        """What changes: `kind` (task, instance, service; deleted: a task), `id`, `service`. For ever."""
        for name, data, _ in self.stream("events", {}):
            if name == "changed":
                yield data

    def models(self) -> ModelList:
        """The base models and LoRAs that a query to the built-in app may name; LoRAs newest first."""
        return read(ModelList, self.get("models"))

    def images(self, task_id: str) -> GenerationView:
        """What a query has drawn, with fresh links; raises NotFound when it has left nothing."""
        return self.task(task_id).images()
