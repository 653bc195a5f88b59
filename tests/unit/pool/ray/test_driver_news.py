"""What the launcher makes of a driver's last words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from backend.pool.ray.launcher import RayLauncher
from backend.settings import Settings

_LOOKED = '{"event": "looked", "instances": ["a"], "nodes": [], "free": {}}'


def test_a_driver_that_is_killed_in_the_middle_of_a_line_is_away_and_no_fault(tmp_path: Path) -> None:
    launcher = RayLauncher(Settings(data_dir=tmp_path), lambda: "d", lambda: None)
    with subprocess.Popen(
        [sys.executable, "-c", f"print({_LOOKED!r}); print({_LOOKED[:20]!r}, end='')"],
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        launcher._process = driver
        seen: list[set[str]] = []
        launcher._on_change = lambda: seen.append(launcher.actors)
        launcher._hear(driver)
        assert driver.stdout is not None and driver.stdout.closed
    assert seen == [{"a"}]
    assert not launcher.connected
