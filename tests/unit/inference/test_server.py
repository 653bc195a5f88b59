"""The HTTP face of the app, asked as an instance asks it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backend.inference.server import Server
from backend.processes import wait_until
from tests.unit.inference.conftest import Studio

SMALL = {"prompt": "a red circle", "steps": 3, "guidance": 3, "seed": 5}


class Ear:
    """Where the app reports to; from the moment `deaf` is set it answers that nobody wants the query any more."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.deaf = threading.Event()
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ear.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(410 if ear.deaf.is_set() else 204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/word"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.close()


@pytest.fixture
def port(studio: Studio) -> Iterator[int]:
    server = Server(0, studio.engine, studio.data_dir.resolve())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def ask(port: int, body: Any, path: str = "/", **headers: str) -> tuple[http.client.HTTPResponse, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {f"X-Lorapool-{name.replace('_', '-')}": value for name, value in headers.items()}
    connection.request("POST", path, text, named)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, json.loads(data) if data else None


def test_an_answer_says_what_is_loaded_and_unloading_says_that_nothing_is(port: int) -> None:
    answer, said = ask(port, {**SMALL, "count": 2})
    assert (answer.status, said["seeds"], len(said["images"])) == (200, [5, 6], 2)
    assert said["parameters"]["width"] == 64 and said["parameters"]["model"] == "models/tiny-shapes"
    assert "tiny-shapes" in json.loads(answer.headers["X-Lorapool-Loaded"])
    answer, _ = ask(port, b"", "/unload")
    assert (answer.status, answer.headers["X-Lorapool-Loaded"]) == (204, "[]")


def test_files_go_where_the_task_is_and_nowhere_else(port: int, studio: Studio) -> None:
    job = str(studio.data_dir / "jobs" / "t1")
    _, said = ask(port, {**SMALL, "output": "file"}, Job_Dir=job)
    assert said["files"] == ["outputs/t1/00.png"]
    assert (studio.data_dir / "outputs" / "t1" / "00.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((studio.data_dir / "outputs" / "t1" / "result.json").read_text())["images"] == []
    assert said["images"][0].startswith("/api/v1/outputs/t1/00.png?expires=")
    foreign = (studio.data_dir / "jobs" / "任务-3").as_posix().encode().decode("latin-1")
    _, said = ask(port, {**SMALL, "output": "file"}, Job_Dir=foreign)
    assert said["files"] == ["outputs/任务-3/00.png"]
    _, said = ask(port, {**SMALL, "output": "file"}, Job_Dir="/etc/t2")
    (file,) = said["files"]
    assert (studio.data_dir / file).is_file() and "t2" not in file


def test_what_cannot_be_drawn_is_final(port: int) -> None:
    for body, field in (
        (b"{", "body"),
        ({**SMALL, "model": "x"}, "model"),
        ({**SMALL, "width": 8192, "height": 8192, "count": 64}, "width"),
    ):
        answer, said = ask(port, body)
        assert (answer.status, said["error"], said["field"]) == (400, "InvalidArgument", field)
        assert answer.headers["X-Lorapool-Final"] == "1"


def test_steps_and_previews_are_reported(port: int, studio: Studio, ear: Ear) -> None:
    job = studio.data_dir / "jobs" / "t1"
    ask(port, {**SMALL, "steps": 60, "preview_every": 3}, Job_Dir=str(job), Progress_Url=ear.url)
    steps = [said["step"] for said in ear.heard if said.get("total") == 60]
    assert steps == sorted(steps) and steps
    files = [said for said in ear.heard if said.get("type") == "file"]
    assert files and all(Path(said["path"]).is_relative_to(job) for said in files)
    assert Path(files[0]["path"]).read_bytes().startswith(b"\x89PNG")


def test_a_query_that_nobody_wants_is_given_up(port: int, ear: Ear) -> None:
    ear.deaf.set()
    answer, said = ask(port, {**SMALL, "steps": 1000}, Progress_Url=ear.url)
    assert (answer.status, said["error"]) == (499, "Cancelled")
    assert ask(port, SMALL)[0].status == 200


def test_a_query_whose_caller_has_gone_never_gets_the_device(port: int, studio: Studio) -> None:
    # Given a long drawing, and a query for another model's size that waits behind it
    long = studio.begin(seed=1, steps=1000)
    assert wait_until(lambda: long.step > 0, 60.0)
    body = json.dumps({**SMALL, "width": 72}).encode()
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert wait_until(lambda: len(studio.engine._waiting) == 1, 60.0)
        (waits,) = studio.engine._waiting
    # When its caller hangs up, then it is given up before its turn has come
    assert wait_until(lambda: waits.cancelled, 60.0)
    assert not long.over
    long.set(cancelled=True)
    assert ask(port, SMALL)[0].status == 200
    assert waits.phase == "waiting for the device"
