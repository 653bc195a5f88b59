"""An app's life: real programs, started by a real template."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.pool.template import bind
from backend.processes import group_members, wait_until
from backend.service import Container
from backend.worker import app_process, own_network
from backend.worker.app_process import AppProcess, AppSettings
from tests.support.box import free_port

PATIENCE = 60.0

SERVER = """
import os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1
        if self.path == '/deaf':
            server.socket.close()
            time.sleep(1000)
        self.send_response(200 if Handler.asked > 2 else 503)
        self.end_headers()
    def log_message(self, *args):
        pass
server = HTTPServer(('127.0.0.1', PORT), Handler)
server.serve_forever()
"""

Make = Callable[..., AppProcess]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("template") / "plain.sock"
    with bind(path) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend.pool.template", str(listener.fileno()), "backend.worker.guard"],
            pass_fds=(listener.fileno(),),
            stdin=subprocess.PIPE,
        )
        yield path
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def make(template: Path, tmp_path: Path) -> Iterator[Make]:
    made: list[AppProcess] = []

    def start(
        code: str, *, port: int | None = None, health: str = "", deadline: float = PATIENCE
    ) -> AppProcess:
        file = tmp_path / f"app{len(made)}.py"
        file.write_text(code.replace("PORT", "int(os.environ['PORT'])") if "PORT" in code else code)
        container = Container(command=f"{sys.executable} -S {file}", port=port or free_port())
        settings = AppSettings(container, health, template, tmp_path, deadline, stop_grace=1.0)
        made.append(AppProcess(settings, lambda: None))
        made[-1].start()
        return made[-1]

    yield start
    for app in made:
        app.close()


def ready(app: AppProcess) -> int:
    port = app.wait_ready(PATIENCE, lambda: False)
    assert port is not None, app.fault
    return port


def given_up(app: AppProcess) -> str:
    assert wait_until(lambda: app.given_up, PATIENCE), app.fault
    assert not app.ready
    return app.fault


def group(app: AppProcess) -> int:
    program: Any = app._program
    return int(program.group)


def test_an_app_has_the_port_of_its_description_when_that_is_free(make: Make) -> None:
    port = free_port()
    assert ready(make(SERVER, port=port)) == port


def test_a_second_one_has_a_port_of_its_own(make: Make) -> None:
    port = free_port()
    first = ready(make(SERVER, port=port))
    second = ready(make(SERVER, port=port))
    assert first == port != second


def insisting(port: int) -> str:
    return SERVER.replace("PORT", str(port))


def test_an_app_that_insists_on_a_port_that_is_taken_has_a_network_of_its_own(make: Make) -> None:
    if not own_network.available():
        pytest.skip("this system gives this user no network namespace")
    port = free_port()
    first = make(insisting(port), port=port)
    assert ready(first) == port
    second = make(insisting(port), port=port)
    assert ready(second) != port
    app_process.healthy(ready(second), "/deaf")
    assert app_process.healthy(ready(first), "/1") is False, "the first has been asked once alone"
    running = group(second)
    second.close()
    assert group_members(running) == []


def test_where_there_is_no_such_network_it_says_so(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_network, "available", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        fault = given_up(make(insisting(port), port=port))
    assert "Address already in use" in fault


def test_an_app_that_ends_at_once_is_tried_a_few_times_and_then_given_up(make: Make, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = f"import sys; open({str(starts)!r}, 'a').write('x'); sys.exit('there is no model')"
    fault = given_up(make(code))
    assert "there is no model" in fault and "exit code 1" in fault
    assert starts.read_text() == app_process.START_ATTEMPTS * "x"


def test_an_app_that_never_listens_is_given_up_in_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_process, "START_ATTEMPTS", 1)
    port = free_port()
    app = make("import time; time.sleep(1000)", port=port, deadline=0.3)
    assert f"did not listen on port {port}" in given_up(app)


def test_an_app_is_ready_when_its_health_check_says_so(make: Make) -> None:
    app = make(SERVER, health="/health")
    port = ready(app)
    assert app_process.healthy(port, "/health"), "it answered 503 twice, and 200 since"


def test_an_app_that_was_killed_is_started_again(make: Make) -> None:
    app = make(SERVER)
    ready(app)
    first = group(app)
    os.killpg(first, signal.SIGKILL)
    assert wait_until(lambda: app.ready and app._program is not None and group(app) != first, PATIENCE), (
        app.fault
    )


def test_an_app_that_takes_no_connections_any_more_is_started_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_process, "SILENCE", 0.3)
    app = make(SERVER)
    first, port = group(app) if ready(app) else 0, ready(app)
    app_process.healthy(port, "/deaf")
    app.doubt()
    assert not app.ready
    assert wait_until(lambda: app.ready, PATIENCE), app.fault
    assert group(app) != first


def test_a_doubt_without_ground_is_soon_over(make: Make) -> None:
    app = make(SERVER)
    ready(app)
    first = group(app)
    app.doubt()
    ready(app)
    assert group(app) == first


def test_nothing_is_left_of_an_app_that_was_closed(make: Make) -> None:
    app = make(SERVER)
    ready(app)
    running = group(app)
    app.close()
    assert group_members(running) == []


QUICK = SERVER.replace("Handler.asked > 2", "True")


def test_an_app_makes_room_and_is_started_again_when_no_other_command_follows(make: Make) -> None:
    app = make(QUICK)
    first = app.wait_ready(PATIENCE, lambda: False)
    assert first is not None
    group = app._program.group if app._program is not None else 0
    app.free()
    assert not app.ready and app.resting and not group_members(group)
    app.take_up(("sd15",))
    app.free()  # the next command comes at once: nothing of the app runs meanwhile
    assert app._program is None and app.resting
    app.take_up(("sd15",))
    assert wait_until(lambda: app.ready, PATIENCE)
    assert app.warm == ("sd15",)


def test_a_query_does_not_wait_for_the_pause_behind_a_command(make: Make) -> None:
    app = make(QUICK)
    assert app.wait_ready(PATIENCE, lambda: False) is not None
    app.free()
    assert app.wait_ready(PATIENCE, lambda: False) is not None


def test_an_app_that_cannot_be_told_to_unload_is_stopped(make: Make) -> None:
    port = free_port()
    assert not app_process.unloaded(port, "/unload")
    app = make(QUICK)
    ready = app.wait_ready(PATIENCE, lambda: False)
    assert ready is not None and not app_process.unloaded(ready, "/unload"), "it knows no POST"
