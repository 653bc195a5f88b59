"""The inference sample of the EAS documents, deployed from its JSON, asked by the unchanged official client."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.support.box import PATIENCE, Box, until

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("inference_program.py")

DESCRIPTION = ROOT / "docs" / "examples" / "eas" / "inference.json"


def test_every_one_of_200_answers_comes_once_to_who_asked(sdk_python: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    shutil.copy(ROOT / "docs" / "examples" / "queries" / "app.py", data_dir)
    box = Box(data_dir, arguments=(str(DESCRIPTION),)).start()
    try:
        client = subprocess.run(
            [str(sdk_python), str(PROGRAM), box.endpoint, "scalablejob", box.token, "8", "25"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    finally:
        box.stop()
    assert client.returncode == 0, client.stderr
    said = json.loads(client.stdout)
    assert sorted(prompt for prompt, *_ in said["results"]) == sorted(
        f"{thread}-{n}" for thread in range(8) for n in range(25)
    )
    assert all(
        [picture, *rest] == [f"a picture of {prompt}", True, 1] for prompt, picture, *rest in said["results"]
    )
    assert said["left"] == "0"
    until(lambda: not box.processes(), f"no process is left: {box.processes()}", 10.0)
