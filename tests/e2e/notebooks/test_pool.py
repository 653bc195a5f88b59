"""A pool that a notebook starts: it is joined by the next one, and ends with the process that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.notebook import Pool
from backend.client import GatewayUnavailable
from backend.errors import LorapoolError
from tests.support.box import ENVIRONMENT, ROOT, Box, free_port, until

STARTS = """
import json, sys
from app.notebook import Pool
pool = Pool.start(sys.argv[1], sample_data=False)
print(json.dumps(pool.client.endpoint), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a killed parent")
def test_a_pool_ends_with_the_kernel_even_when_that_is_killed(tmp_path: Path) -> None:
    # Given a process that has started a pool
    folder = tmp_path / "data"
    kernel = subprocess.Popen(
        [sys.executable, "-c", STARTS, str(folder)],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert kernel.stdout is not None
    endpoint = json.loads(kernel.stdout.readline())
    deployment = Box(folder)
    try:
        # Then another one joins it, and does not end it
        with Pool.start(folder, sample_data=False) as joined:
            assert joined.client.endpoint == endpoint
            assert joined.service.name == "kohya_job"
        assert deployment.processes()
    finally:
        # When the process is killed
        kernel.send_signal(signal.SIGKILL)
        kernel.communicate()
    # Then nothing of the pool is left
    until(lambda: not deployment.processes(), f"no process is left: {deployment.processes()}", 30.0)
    assert not (folder / "endpoint").exists()


def test_a_pool_elsewhere_is_reached_by_url_and_token(box: Box) -> None:
    with Pool.connect(box.endpoint, box.token) as pool:
        assert pool.data_dir == box.data_dir
    with pytest.raises(LorapoolError):
        Pool.connect(box.endpoint, "not the token")


def test_nothing_answers_there() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backend.client.connection.RECONNECT", 0.0)
        with pytest.raises(GatewayUnavailable, match="lorapool up"):
            Pool.connect(f"http://127.0.0.1:{free_port()}", "token")
