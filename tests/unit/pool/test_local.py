"""What the launcher of one host keeps."""

from __future__ import annotations

import os
from pathlib import Path

from backend import paths
from backend.pool.local import LocalLauncher
from backend.pool.templates import Templates
from backend.settings import Settings


def test_logs_of_instances_are_kept_up_to_a_number(tmp_path: Path) -> None:
    logs = tmp_path / paths.LOGS
    logs.mkdir()
    for age in range(6):
        log = logs / f"instance-{age}.log"
        log.write_text("said")
        os.utime(log, (1e9 - age, 1e9 - age))
    (logs / "supervisor.log").write_text("said")
    launcher = LocalLauncher(Settings(data_dir=tmp_path), Templates(tmp_path, logs), lambda: None)
    try:
        launcher._forget_logs(4)
    finally:
        launcher.close()
    left = sorted(path.name for path in logs.iterdir())
    assert left == [*(f"instance-{age}.log" for age in range(4)), "supervisor.log"]
