"""A gateway that does what a test tells it: the control API over real HTTP and server-sent events, no queue behind.

For states of the pages that a real deployment reaches only after minutes, or by luck.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from backend.views import InstanceView, ServiceView, TaskView, as_json, read

TOKEN = "secret-token-of-the-gateway"

Json = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FakeTask:
    """A task with its log, curve and files."""

    def __init__(self, view: Json) -> None:
        self.view = view
        self.lines: list[str] = []
        self.points: list[Json] = []
        self.files: list[Json] = []


class FakeGateway:
    """Tasks in memory. Its methods may be called from any thread; pages hear of every change."""

    def __init__(self, job_dir: Path) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.tasks: dict[str, FakeTask] = {}
        self.services: list[Json] = [service()]
        self.instances: list[Json] = []
        self.decisions: list[Json] = []
        self.moments: list[Json] = []
        self.users: list[Json] = []
        self.submitted: list[Json] = []
        self.models: list[Json] = []
        self.loras: list[Json] = []
        self.answers: dict[str, list[bytes]] = {}
        self.rooms: dict[str, Json] = {}
        self.deleted: list[tuple[str, bool, bool]] = []
        self.refuses: Json | None = None
        self.paths: list[str] = []
        self.streams = 0
        self._job_dir = job_dir
        self._changes: list[Json] = []
        self._wakers: set[asyncio.Event] = set()
        self._app = self._routes()

    def start(self) -> None:
        config = uvicorn.Config(
            self._app, port=self.port, log_level="error", timeout_graceful_shutdown=0, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "the fake gateway did not start"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(20)

    # What a test says

    def clear(self) -> None:
        """Forget everything."""
        for kept in (self.tasks, self.submitted, self.paths, self.services, self.instances, self.decisions):
            kept.clear()
        for more in (
            self.models,
            self.loras,
            self.answers,
            self.moments,
            self.users,
            self.rooms,
            self.deleted,
        ):
            more.clear()
        self.refuses = None

    def add(self, id: str, **view: Any) -> FakeTask:
        task = FakeTask(task_view(id, index=len(self.tasks) + 1, **view))
        self.tasks[id] = task
        self._changed("task", id)
        return task

    def update(self, id: str, **changes: Any) -> None:
        self.tasks[id].view.update(changes)
        self._changed("task", id, told="state" in changes)

    def forget(self, id: str) -> None:
        """A task is deleted, by whomever."""
        del self.tasks[id]
        self._changed("deleted", id)

    def log(self, id: str, *lines: str) -> None:
        task = self.tasks[id]
        task.lines += lines
        task.view["log_lines"] = len(task.lines)
        self._changed("task", id, told=False)

    def point(self, id: str, **values: Any) -> None:
        task = self.tasks[id]
        task.points.append({"n": len(task.points) + 1, **values})
        self._changed("task", id, told=False)

    def file(self, id: str, path: str, data: bytes, **about: Any) -> None:
        target = self._job_dir / id / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        entry = {"path": path, "step": None, "epoch": None, "label": None, "kind": "other", **about}
        self.tasks[id].files.append({**entry, "size": len(data), "modified": time.time()})
        self._changed("task", id, told=False)

    def drawn(self, id: str, *pictures: bytes) -> None:
        """A query has been answered with these pictures."""
        self.answers[id] = list(pictures)
        self.update(id, state="succeeded", finished_at=time.time())

    def pool_changed(self) -> None:
        self._changed("instance", "")

    def _changed(self, kind: str, id: str, *, told: bool = True) -> None:
        """Wake every stream; the stream of all changes tells of states, not of progress, lines and files."""
        if told:
            self._changes.append({"kind": kind, "id": id, "service": "kohya_job"})
        for waker in list(self._wakers):
            loop = getattr(waker, "loop", None)
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(waker.set)

    # What pages ask

    def _routes(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def token(request: Request, call_next: Any) -> Response:
            self.paths.append(request.url.path)
            if request.headers.get("authorization") != TOKEN:
                return _error(401, "Unauthorized", "no such token")
            answer: Response = await call_next(request)
            return answer

        api = "/api/v1"

        @app.get(f"{api}/info")
        def info() -> Json:
            return {"version": "0", "data_dir": "", "services": ["kohya_job"], "trainer": "built-in"}

        @app.get(f"{api}/services")
        def services() -> Json:
            return {"services": self.services}

        @app.get(f"{api}/services/{{name}}")
        def one_service(name: str) -> Any:
            return next((each for each in self.services if each["name"] == name), _missing(name))

        @app.get(f"{api}/services/{{name}}/history")
        def history(name: str) -> Json:
            return {"now": time.time(), "moments": self.moments}

        @app.get(f"{api}/services/{{name}}/usage")
        def usage(name: str) -> Json:
            return {"users": self.users}

        @app.put(f"{api}/services/{{name}}/autoscaler")
        async def autoscaler(name: str, request: Request) -> Any:
            if self.refuses:
                return JSONResponse(self.refuses, 400)
            body = await request.json()
            [found] = [each for each in self.services if each["name"] == name]
            found["description"] = {**found["description"], "autoscaler": body}
            found.update({key: body[key] for key in ("min", "max")})
            return found

        @app.get(f"{api}/instances")
        def instances() -> Json:
            return {"instances": self.instances}

        @app.get(f"{api}/decisions")
        def decisions() -> Json:
            return {"decisions": self.decisions}

        @app.get(f"{api}/tasks")
        def tasks(state: str = "", limit: int = 50, before: int = 1 << 60) -> Json:
            views = [task.view for task in self.tasks.values() if task.view["index"] < before]
            if state:
                views = [view for view in views if view["state"] in state.split(",")]
            return {"tasks": sorted(views, key=lambda view: -view["index"])[:limit]}

        @app.get(f"{api}/tasks/{{id}}")
        def one(id: str) -> Any:
            return self.tasks[id].view if id in self.tasks else _missing(id)

        @app.post(f"{api}/services/{{name}}/tasks")
        async def submit(request: Request) -> Any:
            if self.refuses:
                return JSONResponse(self.refuses, 400)
            body = await request.json()
            self.submitted.append(body)
            waiting = sum(task.view["state"] == "waiting" for task in self.tasks.values())
            self.add(
                body["id"],
                kind=body.get("kind", "command"),
                name=body["name"],
                argv=body.get("argv", []),
                details=body["details"],
                position=waiting + 1,
                expected_start=time.time() + 240 * (waiting + 1),
            )
            return self.tasks[body["id"]].view

        @app.get(f"{api}/loras.zip")
        def loras_zip() -> Response:
            return Response(b"a zip archive", media_type="application/zip")

        @app.get(f"{api}/tasks/{{id}}/room")
        def room(id: str) -> Any:
            return self.rooms.get(id, {"parts": [], "lora": "", "lora_bytes": 0})

        @app.delete(f"{api}/tasks/{{id}}")
        def delete(id: str, files: bool, lora: bool) -> Any:
            if id not in self.tasks:
                return _missing(id)
            self.deleted.append((id, files, lora))
            self.forget(id)
            return {"parts": []}

        @app.post(f"{api}/tasks/{{id}}/cancel")
        async def cancel(id: str, request: Request) -> Any:
            mode = (await request.json())["mode"]
            task = self.tasks[id].view
            if task["state"] == "waiting":
                self.update(id, state="cancelled", finished_at=time.time(), reason="stopped by a person")
            else:
                self.update(id, cancel=mode)
            return task

        @app.post(f"{api}/tasks/{{id}}/retry")
        def retry(id: str) -> Any:
            old = self.tasks[id].view
            new = self.add(f"{id}-again", name=old["name"], argv=old["argv"], position=1)
            return new.view

        @app.post(f"{api}/tasks/{{id}}/priority")
        async def priority(id: str, request: Request) -> Any:
            self.update(id, priority=(await request.json())["priority"])
            return self.tasks[id].view

        @app.get(f"{api}/tasks/{{id}}/scalars")
        def scalars(id: str, after: int = 0) -> Json:
            points = self.tasks[id].points[after:]
            return {"points": points, "next": after + len(points)}

        @app.get(f"{api}/tasks/{{id}}/log")
        def log(id: str, after: int = 0, limit: int = 1000) -> Json:
            lines = self.tasks[id].lines
            part = [[i + 1, lines[i]] for i in range(after, min(len(lines), after + limit))]
            return {"lines": part, "next": after + len(part), "total": len(lines)}

        @app.get(f"{api}/tasks/{{id}}/log.txt")
        def whole(id: str) -> Response:
            return PlainTextResponse("\n".join(self.tasks[id].lines) + "\n")

        @app.post(f"{api}/services/{{name}}/{{action}}")
        def hold(name: str, action: str) -> Any:
            [found] = [each for each in self.services if each["name"] == name]
            found["state"] = {"stop": "Stopped", "start": "Running"}[action]
            self.pool_changed()
            return found

        @app.get(f"{api}/models")
        def models() -> Json:
            return {"models": self.models, "loras": self.loras}

        @app.get(f"{api}/tasks/{{id}}/images")
        def images(id: str) -> Any:
            if id not in self.answers:
                return _missing(id)
            links = [f"{api}/outputs/{id}/{n:02d}.png?signature=secret" for n in range(len(self.answers[id]))]
            asked = [
                json.loads(base64.b64decode(sent["data"])) for sent in self.submitted if sent["id"] == id
            ]
            return {
                "images": links,
                "seeds": [5],
                "seconds": 1.0,
                "parameters": {"steps": 20, "width": 64, "height": 64} | (asked or [{}])[0],
            }

        @app.get(f"{api}/outputs/{{id}}/{{name}}")
        def output(id: str, name: str) -> Response:
            return Response(self.answers[id][int(name[:2])], media_type="image/png")

        @app.get(f"{api}/tasks/{{id}}/files")
        def files(id: str) -> Json:
            return {"files": self.tasks[id].files}

        @app.get(f"{api}/tasks/{{id}}/files/{{path:path}}")
        def file(id: str, path: str) -> Response:
            target = self._job_dir / id / path
            return FileResponse(target) if target.is_file() else _missing(path)

        @app.get(f"{api}/tasks/{{id}}/events")
        async def events(id: str, request: Request, log: int = 0, scalars: int = 0, files: int = 0) -> Any:
            if id not in self.tasks:
                return _missing(id)
            last = request.headers.get("last-event-id")
            if last:
                log, scalars, files = (int(part) for part in last.split("."))
            return StreamingResponse(
                self._task_events(self.tasks[id], log, scalars, files), media_type="text/event-stream"
            )

        @app.get(f"{api}/events")
        async def changes() -> Any:
            return StreamingResponse(self._all_events(), media_type="text/event-stream")

        return app

    async def _task_events(self, task: FakeTask, log: int, scalars: int, files: int) -> AsyncIterator[str]:
        shown = ""
        self.streams += 1
        try:
            async for _ in self._wakes():
                view = json.dumps(task.view)
                if view != shown:
                    shown = view
                    yield _event("task", f"{log}.{scalars}.{files}", view)
                while log < len(task.lines):
                    part = task.lines[log : log + 1000]
                    lines = [[log + i + 1, text] for i, text in enumerate(part)]
                    log += len(part)
                    yield _event("log", f"{log}.{scalars}.{files}", json.dumps({"lines": lines, "next": log}))
                if scalars < len(task.points):
                    points, scalars = task.points[scalars:], len(task.points)
                    data = json.dumps({"points": points, "next": scalars})
                    yield _event("scalars", f"{log}.{scalars}.{files}", data)
                if files < len(task.files):
                    new, files = task.files[files:], len(task.files)
                    yield _event(
                        "files", f"{log}.{scalars}.{files}", json.dumps({"files": new, "next": files})
                    )
                if task.view["finished_at"] is not None and shown == json.dumps(task.view):
                    yield _event("end", f"{log}.{scalars}.{files}", "{}")
                    return
        finally:
            self.streams -= 1

    async def _all_events(self) -> AsyncIterator[str]:
        seen = len(self._changes)
        yield ": hello\n\n"
        async for _ in self._wakes():
            new, seen = self._changes[seen:], len(self._changes)
            for change in {json.dumps(change) for change in new}:
                yield _event("changed", "", change)

    async def _wakes(self) -> AsyncIterator[None]:
        waker = asyncio.Event()
        waker.loop = asyncio.get_running_loop()  # type: ignore[attr-defined]
        self._wakers.add(waker)
        try:
            while True:
                yield
                await waker.wait()
                waker.clear()
                await asyncio.sleep(0.05)
        finally:
            self._wakers.discard(waker)


def _event(name: str, id: str, data: str) -> str:
    return f"event: {name}\n{f'id: {id}' if id else ':'}\ndata: {data}\n\n"


def _error(status: int, error: str, message: str) -> Response:
    return JSONResponse({"error": error, "message": message}, status)


def _missing(name: str) -> Response:
    return _error(404, "NotFound", f"There is no {name}.")


def task_view(id: str, index: int, **values: Any) -> Json:
    view: Json = {
        **{"id": id, "service": "kohya_job", "index": index, "request_id": id, "kind": "command"},
        **{"name": id, "user": "", "priority": 0, "state": "waiting", "reason": "", "phase": ""},
        **{"position": None, "expected_start": None, "created_at": time.time(), "assigned_at": None},
        **{"started_at": None, "finished_at": None, "attempt": 0, "attempts": [], "instance": ""},
        **{"progress": None, "exit_code": None, "cancel": None, "output": "", "tags": {}},
        **{"command": "", "argv": ["accelerate", "launch", "train_network.py"], "details": {}},
        "log_lines": 0,
    }
    return _as_the_gateway_says(TaskView, view, values)


def _as_the_gateway_says(kind: type[Any], usual: Json, values: Json) -> Json:
    """The answer, once it is sure that a real gateway's has these fields and lacks none."""
    unknown = values.keys() - {field.name for field in dataclasses.fields(kind)}
    assert not unknown, unknown
    return as_json(read(kind, usual | values))


def progress(step: int, total: int, **more: Any) -> Json:
    usual: Json = {
        **{"epoch": 1 + step * 10 // (total + 1), "epochs": 10, "loss": 0.0831, "lr": 0.0001},
        **{"seconds_per_step": 0.42, "eta": (total - step) * 0.42},
    }
    return {"step": step, "total": total, **usual, **more}


def service(name: str = "kohya_job", **values: Any) -> Json:
    usual = {
        **{"name": name, "type": "ScalableJob", "state": "running", "created_at": time.time() - 7200},
        **{
            "min": 0,
            "max": 2,
            "waiting": 0,
            "running": 0,
            "instances": 0,
            "description": {"containers": [{"app": "built-in"}]},
            "warnings": [],
        },
        "token": "the-service-token",
    }
    return _as_the_gateway_says(ServiceView, usual, values)


def instance(id: str, **values: Any) -> Json:
    usual: Json = {
        **{"id": id, "service": "kohya_job", "state": "idle", "slots": 1, "tasks": [], "loaded": []},
        **{"created_at": time.time() - 3600, "ready_at": time.time() - 3590, "idle_since": time.time() - 60},
        **{"device": "cuda:0", "host": "gpu-box", "pid": 4711, "completed": 3, "reason": "", "lease_left": 9},
    }
    return _as_the_gateway_says(InstanceView, usual, values)
