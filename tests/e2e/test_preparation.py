"""What instances do before their first task: init commands, packages, code; and what happens when that fails."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.client import Client
from tests.support.box import PATIENCE, Box, until


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    running = Box(tmp_path_factory.mktemp("prepare") / "data").start()
    try:
        yield running
    finally:
        running.stop()
    until(lambda: not running.processes(), f"no process is left: {running.processes()}", 10.0)


def deployed(client: Client, name: str, *containers: dict[str, Any], **more: Any) -> None:
    client.create_service(
        {
            "metadata": {"name": name, "type": "ScalableJob", "instance": 1},
            "containers": list(containers),
            **more,
        }
    )


def ran(client: Client, service: str, command: str) -> str:
    task = client.service(service).submit(command=command)
    done = task.wait(PATIENCE)
    assert done.state == "succeeded", done.reason
    return "\n".join(task.logs())


def wheel(folder: Path) -> Path:
    """A package that nobody else has, as a wheel."""
    info = "only_for_a_test-1.0.dist-info"
    target = folder / "only_for_a_test-1.0-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("only_for_a_test.py", "SAID = 'from the package'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: only-for-a-test\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return target


def test_commands_packages_and_code_come_before_the_first_task(box: Box, tmp_path: Path) -> None:
    # given a service with a repository, a package and an init command
    repository = tmp_path / "code"
    for words in (["init", "-q", str(repository)], ["-C", str(repository), "add", "."]):
        subprocess.run(["git", *words], check=True)
        (repository / "hello.py").write_text("print('from the repository')\n")
    author = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(repository), *author, "commit", "-qm", "first"], check=True)
    mark = tmp_path / "initialised"
    with box.client() as client:
        deployed(
            client,
            "prepared",
            {
                "script": f"echo one; echo $COLOUR > {mark}; python /code/hello.py",
                "env": [{"name": "COLOUR", "value": "green"}],
                "prepare": {"pythonRequirements": [str(wheel(tmp_path))]},
            },
            storage=[{"mount_path": "/code", "git": {"repo": str(repository)}}],
        )
        # when a task runs
        said = ran(client, "prepared", "python -c 'import only_for_a_test as p; print(p.SAID)'")
        # then all was done before
        assert said.endswith("from the package")
        assert mark.read_text() == "green\n"
        assert "from the repository" in ran(client, "prepared", "python /code/hello.py")
        # and the log of it can be read
        log = client.service("prepared").init_log()
        assert {"one", "from the repository"} <= set(log.lines)
        assert log.instance == client.instances()[0].id or log.instance
    # and other services do not have the package
    with box.client() as client:
        task = client.service("kohya_job").submit(command="python -c 'import only_for_a_test'")
        assert task.wait(PATIENCE).state == "failed"


def test_a_failing_command_keeps_the_instance_out_and_says_so(box: Box) -> None:
    with box.client() as client:
        count = box.data_dir / "starts"
        deployed(client, "broken", {"command": f"sh -c 'echo x >> {count}; echo no such disk >&2; exit 3'"})
        task = client.service("broken").submit(command="true")
        # when it has failed a few times
        until(lambda: count.exists() and len(count.read_text().split()) >= 3, "three starts")
        # then the task waits, and the reason stands where people look
        assert task.state == "waiting"

        def why() -> str:
            return str(client.decisions("broken", limit=1))

        until(lambda: "exit code 3: no such disk" in why(), "the journal says why")
        assert "the next start is tried in" in why()
        assert "no such disk" in client.service("broken").init_log().lines
        shown = subprocess.run(
            [
                *(sys.executable, "-m", "backend.cli", "service", "init-log", "broken"),
                *("--endpoint", box.endpoint, "--data-dir", str(box.data_dir)),
            ],
            capture_output=True,
            text=True,
        )
        assert "no such disk" in shown.stdout, shown.stderr
        doctor = subprocess.run(
            [sys.executable, "-m", "backend.cli", "doctor", "--data-dir", str(box.data_dir)],
            capture_output=True,
            text=True,
        )
        assert doctor.returncode == 1 and "broken: an instance ended before it was ready" in doctor.stdout
        # and starts become rarer: no loop of crashes
        before, began = len(count.read_text().split()), time.monotonic()
        until(lambda: len(count.read_text().split()) > before, "another start", 30.0)
        assert time.monotonic() - began > 0.4
        # and when it is mended the task runs at once
        deployed(client, "broken", {"command": "true"})
        assert task.wait(PATIENCE).state == "succeeded"
        client.service("broken").delete()


def test_a_command_that_takes_too_long_is_ended(box: Box) -> None:
    with box.client() as client:
        deployed(client, "slow", {"command": "sleep 1234", "init_deadline": 0.5})
        client.service("slow").submit(command="true")
        until(lambda: "took longer than 0" in str(client.decisions("slow", limit=1)), "the journal says why")
        client.service("slow").delete()
    until(lambda: not any("sleep 1234" in line for line in box.processes().values()), "nothing of it runs on")
