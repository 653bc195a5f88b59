"""A deployment is backed up while it works, and goes on from that on a fresh machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.box import PATIENCE, ROOT, Box, until


def lorapool(*words: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend.cli", *words, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_tasks_go_on_from_a_backup_on_a_fresh_machine(tmp_path: Path) -> None:
    # given a deployment with a task that is done, one that runs and two that wait
    file, flag = tmp_path / "lorapool.backup", tmp_path / "go"
    first = Box(tmp_path / "first").start()
    try:
        with first.client() as client:
            service = client.service("kohya_job")
            done = service.submit(command="echo all done", id="done")
            assert done.wait(PATIENCE).state == "succeeded"
            wait = f"while [ ! -e {flag} ]; do sleep 0.05; done; echo went"
            running = service.submit(command=wait, id="running")
            until(lambda: running.state == "running", "a task runs")
            for n in range(2):
                service.submit(command=f"echo {n}", id=f"waiting{n}")
            client.add_user("anna")
        # when it is backed up while it works
        made = lorapool("backup", str(file), data_dir=first.data_dir)
        assert made.returncode == 0, made.stderr
        assert "changes waited for" in made.stdout
        assert file.stat().st_mode & 0o777 == 0o600
        # (and a restore into what runs is refused)
        refused = lorapool("restore", str(file), "--replace", data_dir=first.data_dir)
        assert refused.returncode == 1 and "stop it first" in refused.stderr
        token = first.token
    finally:
        first.stop()
    # and restored into another data folder, as on a fresh machine
    second = Box(tmp_path / "second")
    flag.touch()
    back = lorapool("restore", str(file), data_dir=second.data_dir)
    assert back.returncode == 0, back.stderr
    second.start()
    try:
        # then what waited and what ran are done there, in their order, with the old token
        assert second.token == token
        with second.client() as client:
            ended = [client.task(name).wait(PATIENCE) for name in ("running", "waiting0", "waiting1")]
            assert [view.state for view in ended] == ["succeeded"] * 3
            starts = [view.started_at or 0.0 for view in ended]
            assert starts == sorted(starts)
            assert list(client.task("done").logs()) == ["all done"]
            assert [user.name for user in client.users()] == ["anna"]
    finally:
        second.stop()
    until(lambda: not {**first.processes(), **second.processes()}, "no process is left", 10.0)
