"""What front ends, notebooks and the command line use to talk to a gateway.

    service = Client("http://127.0.0.1:8000", token).service("kohya_job")
    task = service.submit(argv=["accelerate", "launch", "train_network.py", "--config_file", "config.toml"])
    for line in task.logs(follow=True):
        print(line)

A task's id is made here, so that a submission may be repeated after a broken connection without being queued twice.
Streams connect again by themselves and go on where they were: a restart of the gateway in between is not seen.
"""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx

from backend import errors, generation
from backend.errors import InvalidArgument, LorapoolError
from backend.generation import Generation, GridRun
from backend.views import (
    FileView,
    GenerationView,
    InfoView,
    InstanceView,
    LogPage,
    ModelList,
    ProgressView,
    ScalarPage,
    ServiceView,
    TaskView,
    read,
)

V = TypeVar("V")

RECONNECT = 30.0
"""Seconds that the gateway may stay away in the middle of a stream or of a repeatable request."""

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_STREAM = httpx.Timeout(30.0, connect=5.0, read=35.0)  # the gateway pings every ten seconds
_PAUSE = 0.25
_AWAY = (httpx.TransportError, httpx.StreamError)

Event = tuple[str, Any]


class GatewayUnavailable(LorapoolError):
    """The gateway does not answer; what it has acknowledged is safe."""

    status = 503


class Client:
    """A gateway, as one token sees it. Safe to share between threads."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self.endpoint = (endpoint or os.environ.get("LORAPOOL_ENDPOINT") or "http://127.0.0.1:8000").rstrip(
            "/"
        )
        given = token if token is not None else os.environ.get("LORAPOOL_TOKEN", "")
        self._http = httpx.Client(
            base_url=f"{self.endpoint}/api/v1/", headers={"Authorization": given}, timeout=_TIMEOUT
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        """What changes: `kind` (task, instance, service), `id`, `service`. For ever."""
        for name, data, _ in self.stream("events", {}):
            if name == "changed":
                yield data

    def models(self) -> ModelList:
        """The base models and LoRAs that a query to the built-in app may name; LoRAs newest first."""
        return read(ModelList, self.get("models"))

    def images(self, task_id: str) -> GenerationView:
        """What a query has drawn, with fresh links; raises NotFound when it has left nothing."""
        return read(GenerationView, self.get(f"tasks/{quote(task_id, safe='')}/images"))

    def fetch(self, link: str) -> bytes:
        """The bytes behind a link of an answer."""
        deadline = time.monotonic() + RECONNECT
        while True:
            try:
                response = self._http.get(f"{self.endpoint}{link}")
                if response.status_code == 200:
                    return response.content
                _answer(response)
            except _AWAY as error:
                if time.monotonic() > deadline:
                    raise _away(self.endpoint, error) from None
            time.sleep(_PAUSE)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """A JSON answer of the control API; waits out a gateway that is away for a moment."""
        return self._request("GET", path, query=query, repeat=True)

    def post(self, path: str, body: Any = None, *, repeat: bool = False) -> Any:
        """A change. With `repeat` it may be sent again after a broken connection."""
        return self._request("POST", path, body=body, repeat=repeat)

    def put(self, path: str, body: Any) -> Any:
        """Replace something; may be sent again after a broken connection."""
        return self._request("PUT", path, body=body, repeat=True)

    def delete(self, path: str) -> Any:
        """Remove something."""
        return self._request("DELETE", path, repeat=False)

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        repeat: bool,
    ) -> Any:
        params = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        deadline = time.monotonic() + RECONNECT
        while True:
            try:
                response = self._http.request(method, path, params=params, json=body)
            except _AWAY as error:
                if not repeat or time.monotonic() > deadline:
                    raise _away(self.endpoint, error) from None
            else:
                if response.status_code != 503 or not repeat or time.monotonic() > deadline:
                    return _answer(response)
            time.sleep(_PAUSE)

    def stream(self, path: str, query: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
        """Server-sent events as (name, data, id); connects again where it was, until the server says `end`."""
        last, heard = "", time.monotonic()
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with self._http.stream(
                    "GET", path, params=query, headers=headers, timeout=_STREAM
                ) as response:
                    if response.status_code != 503:
                        if response.status_code != 200:
                            response.read()
                            _answer(response)
                        for name, data, cursor in _parse(response.iter_lines(), last):
                            heard, last = time.monotonic(), cursor
                            yield name, data, last
                            if name == "end":
                                return
                        heard = time.monotonic()
            except _AWAY as error:
                if time.monotonic() - heard > RECONNECT:
                    raise _away(self.endpoint, error) from None
            if time.monotonic() - heard > RECONNECT:
                raise _away(self.endpoint, "it refuses to stream")
            time.sleep(_PAUSE)

    def download(self, path: str, to: Path) -> Path:
        """Write an answer's bytes to a file; the file appears whole or not at all."""
        part = to.with_name(to.name + ".part")
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._http.stream("GET", path) as response, part.open("wb") as file:
                if response.status_code != 200:
                    response.read()
                    _answer(response)
                for chunk in response.iter_bytes():
                    file.write(chunk)
            part.replace(to)
        except _AWAY as error:
            raise _away(self.endpoint, error) from None
        finally:
            part.unlink(missing_ok=True)
        return to


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a gateway."""

    client: Client
    name: str

    def view(self) -> ServiceView:
        """Its description and its counts."""
        return read(ServiceView, self.client.get(f"services/{quote(self.name, safe='')}"))

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


@dataclass(frozen=True, slots=True)
class TaskHandle:
    """One task. Each property asks the gateway anew; `view` gets everything at once."""

    client: Client
    id: str

    @property
    def _path(self) -> str:
        return f"tasks/{quote(self.id, safe='')}"

    def view(self) -> TaskView:
        """Everything about it."""
        return read(TaskView, self.client.get(self._path))

    @property
    def state(self) -> str:
        """waiting, assigned, running, succeeded, failed, cancelled or dead."""
        return self.view().state

    @property
    def reason(self) -> str:
        """Why it is in this state, in words."""
        return self.view().reason

    @property
    def position(self) -> int | None:
        """1 when it is next to start; None unless it waits."""
        return self.view().position

    @property
    def expected_start(self) -> float | None:
        """When it should start, in seconds since the epoch; None when that is not known."""
        return self.view().expected_start

    def progress(self) -> ProgressView | None:
        """Where it is."""
        return self.view().progress

    def logs(self, *, follow: bool = False, after: int = 0) -> Iterator[str]:
        """Its log, line by line, behind line number `after`; with `follow` until it has ended."""
        if not follow:
            while lines := (page := self.log(after)).lines:
                yield from (text for _, text in lines)
                after = page.next
            return
        for name, data in self.events(log=after):
            if name == "log":
                yield from (text for _, text in data["lines"])

    def log(self, after: int = 0, *, limit: int = 1000) -> LogPage:
        """One page of its log."""
        return read(LogPage, self.client.get(f"{self._path}/log", {"after": after, "limit": limit}))

    def scalars(self, after: int = 0) -> ScalarPage:
        """Points of its curve behind number `after`."""
        return read(ScalarPage, self.client.get(f"{self._path}/scalars", {"after": after}))

    def files(self) -> list[FileView]:
        """What it has written so far."""
        return [read(FileView, each) for each in self.client.get(f"{self._path}/files")["files"]]

    def download(self, path: str, to: str | Path) -> Path:
        """Fetch one of its files, named as `files` names it."""
        return self.client.download(f"{self._path}/files/{quote(path)}", Path(to))

    def download_log(self, to: str | Path) -> Path:
        """Fetch its whole log."""
        return self.client.download(f"{self._path}/log.txt", Path(to))

    def wait(self, timeout: float | None = None) -> TaskView:
        """Until it has ended.

        Raises:
            TimeoutError: it has not within `timeout` seconds; it goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (view := self.view()).final:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"task {self.id} is {view.state} after {timeout:.0f} s; it goes on")
            time.sleep(_PAUSE if left is None else min(_PAUSE, left))
        return view

    def cancel(self, *, save: bool = False) -> TaskView:
        """End it; with `save` a training saves its state first. One that has ended stays as it is."""
        body = {"mode": "save" if save else "stop"}
        return read(TaskView, self.client.post(f"{self._path}/cancel", body, repeat=True))

    def retry(self) -> TaskHandle:
        """Queue a new task with the same snapshot."""
        return TaskHandle(self.client, self.client.post(f"{self._path}/retry")["id"])

    def set_priority(self, priority: int) -> TaskView:
        """Have it start sooner or later, while it waits."""
        body = {"priority": priority}
        return read(TaskView, self.client.post(f"{self._path}/priority", body, repeat=True))

    def events(self, *, log: int = 0, scalars: int = 0, files: int = 0) -> Iterator[Event]:
        """Its changes as (name, data) until it has ended, behind these cursors.

        `task` (a `TaskView`), `log`, `scalars` and `files` (as their pages), and at last `end`.
        """
        query = {"log": log, "scalars": scalars, "files": files}
        for name, data, _ in self.client.stream(f"{self._path}/events", query):
            yield name, read(TaskView, data) if name == "task" else data


def _parse(lines: Iterator[str], last: str) -> Iterator[tuple[str, Any, str]]:
    """Server-sent events; source: the HTML standard, 9.2.6. Our data is one line of JSON."""
    name, data = "message", ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            last = value
        elif field == "event":
            name = value
        elif field == "data":
            data = value
        elif not line and data:
            yield name, json.loads(data), last
            name, data = "message", ""


def _answer(response: httpx.Response) -> Any:
    """The JSON of an answer, or the error that it tells of, as the class that it is."""
    try:
        body = response.json()
    except ValueError:
        body = {"error": "", "message": response.text[:500] or f"status {response.status_code}"}
    if response.is_success:
        return body
    message = str(body.get("message") or f"status {response.status_code}")
    kind = getattr(errors, str(body.get("error")), None)
    if body.get("field"):
        field = str(body["field"])
        raise InvalidArgument(field, message.removeprefix(f"{field}: "))
    if isinstance(kind, type) and issubclass(kind, LorapoolError) and kind not in _WITH_ARGUMENTS:
        raise kind(message)
    error = LorapoolError(message)
    error.status = response.status_code
    raise error


_WITH_ARGUMENTS = (errors.InvalidArgument, errors.PathOutsideDataFolder)


def _away(endpoint: str, error: object) -> GatewayUnavailable:
    return GatewayUnavailable(
        f"the gateway at {endpoint} does not answer ({error}). What it has acknowledged is safe; "
        "is `lorapool up` running there?"
    )
