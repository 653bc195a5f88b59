"""How an app is started."""

from __future__ import annotations

from pathlib import Path

from backend.service import Container, Variable
from backend.worker.app_command import command_line, environment


def test_a_command_needs_no_shell() -> None:
    assert command_line(Container(command="python app.py --n 3", port=8000), 9) == (
        "python",
        "app.py",
        "--n",
        "3",
    )


def test_the_port_is_filled_in() -> None:
    container = Container(command="serve --port {port}", port=8000)
    assert command_line(container, 4711) == ("serve", "--port", "4711")


def test_shell_words_get_a_shell() -> None:
    text = "cd app && exec serve $PORT"
    assert command_line(Container(command=text, port=8000), 1) == ("/bin/sh", "-c", text)


def test_a_script_is_for_the_shell() -> None:
    container = Container(script="set -e\nserve {port}", port=8000)
    assert command_line(container, 5) == ("/bin/sh", "-c", "set -e\nserve 5")


def test_the_environment_names_the_port_and_keeps_secrets() -> None:
    container = Container(command="x", port=8000, env=(Variable(name="MODEL", value="sd"),))
    base = {"LORAPOOL_TOKEN": "secret", "REDIS_URL": "redis://", "HOME": "/home/me", "PATH": "/bin"}
    found = environment(container, 4711, base, data_dir=Path("/data"))
    assert found["PORT"] == "4711"
    assert found["MODEL"] == "sd"
    assert found["HOME"] == "/home/me"
    assert found["PATH"].startswith("/bin")
    assert not {"LORAPOOL_TOKEN", "REDIS_URL"} & found.keys()


def test_the_description_cannot_move_the_port() -> None:
    container = Container(command="x", port=8000, env=(Variable(name="PORT", value="1"),))
    assert environment(container, 4711, {}, data_dir=Path("/data"))["PORT"] == "4711"
