"""The curl lines of the README, as they are printed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.gateway_box import TOKEN, Box

README = Path(__file__).parents[3] / "README.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_curl_lines_of_the_readme(box: Box) -> None:
    # Given the service that they name, with a result in its sink
    lines = re.findall(r"^curl .*$", README.read_text(), re.MULTILINE)
    service = re.findall(r"/api/predict/(\w+)", lines[0])[0]
    box.create(service, "ScalableJob")
    with box.http() as http:
        http.post(f"/api/predict/{service}/sink", content=b"hello")

    # When they are typed
    said = []
    for line in lines:
        command = re.sub(r"http://127\.0\.0\.1:\d+", box.url, line).replace("$TOKEN", TOKEN)
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=60, check=True)
        said.append(done.stdout)

    # Then the put answers its index, and the get an item
    assert said[0] == "1"
    assert json.loads(said[1])[0]["data"] == "aGVsbG8="
