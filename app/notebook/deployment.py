"""A deployment as a notebook has it: one of its own, started as child processes, or one that runs elsewhere."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from backend import samples
from backend.client import Client, Service, TaskHandle
from backend.errors import LorapoolError, NotFound
from backend.paths import ENDPOINT
from backend.ports import any_free
from backend.processes import die_with_parent
from backend.views import ServiceView, TaskView

_TRAINING_TYPES = ("ScalableJob", "ScalableJobService")
_STOP_DEADLINE = 120.0


class Pool:
    """A deployment, and the service of it that a notebook uses.

    What is submitted lives in the deployment, not in the notebook: a kernel that was started again finds it there.
    """

    def __init__(
        self,
        client: Client,
        *,
        service: str = "",
        data_dir: Path | None = None,
        process: subprocess.Popen[str] | None = None,
    ) -> None:
        self.client = client
        self.data_dir = data_dir
        self._process = process
        self._service = service

    @classmethod
    def start(cls, data_dir: str | Path = "data", *, service: str = "", sample_data: bool = True) -> Pool:
        """Start `lorapool up` on a data folder, or join the one that runs on it already.

        One that is started here ends with the kernel: trainings save their state then and go on with the next start.
        `sample_data` puts the small model and the pictures that come with lorapool into the folder.

        Raises:
            LorapoolError: it did not come up; the message has its last words.
        """
        folder = Path(data_dir).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if sample_data:
            samples.install(folder)
        process = None
        endpoint = running_on(folder)
        if endpoint is None:
            process, endpoint = _up(folder)
        client = Client(endpoint, (folder / "token").read_text().strip())
        return cls(client, service=service, data_dir=folder, process=process)

    @classmethod
    def connect(cls, endpoint: str | None = None, token: str | None = None, *, service: str = "") -> Pool:
        """A deployment that runs, by its gateway's address and a token.

        Without them `LORAPOOL_ENDPOINT` and `LORAPOOL_TOKEN` of the environment are taken.

        Raises:
            LorapoolError: nothing answers there, or it does not take the token.
        """
        given = token if token is not None else os.environ.get("LORAPOOL_TOKEN", "")
        client = Client(endpoint, given)
        try:
            folder = Path(client.info().data_dir)
        except LorapoolError:
            client.close()
            raise
        return cls(client, service=service, data_dir=folder if _is_here(folder, given) else None)

    @property
    def service(self) -> Service:
        """The service that tasks go to: the one that was named, else the first that runs tasks.

        Raises:
            NotFound: there is none.
        """
        if not self._service:
            names = [each.name for each in self.services() if each.type in _TRAINING_TYPES]
            if not names:
                raise NotFound(
                    "There is no service that runs tasks; create one with `lorapool service create`."
                )
            self._service = names[0]
        return self.client.service(self._service)

    def services(self) -> list[ServiceView]:
        """All services that the token covers."""
        return self.client.services()

    def tasks(self, *, limit: int = 20) -> list[TaskView]:
        """The newest tasks, newest first."""
        return self.client.tasks(limit=limit)

    def task(self, task_id: str = "") -> TaskHandle:
        """A task by its id; without one the newest.

        Raises:
            NotFound: nothing has been submitted yet.
        """
        if not task_id:
            newest = self.tasks(limit=1)
            if not newest:
                raise NotFound("No task has been submitted yet.")
            task_id = newest[0].id
        return self.client.task(task_id)

    def stop(self) -> None:
        """Stop a deployment that was started here; one that was joined or connected to goes on."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        self.client.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = f", data folder {self.data_dir}" if self.data_dir else ""
        started = ", started here" if self._process else ""
        return f"Pool({self.client.endpoint}{where}{started})"


def running_on(data_dir: Path) -> str | None:
    """The address of the gateway that serves this data folder on this machine; None when none answers."""
    try:
        endpoint = (data_dir / ENDPOINT).read_text().strip()
        healthy = httpx.get(f"{endpoint}/healthz", timeout=3.0, trust_env=False).is_success
    except (OSError, httpx.HTTPError, httpx.InvalidURL):
        return None
    return endpoint if healthy else None


def _is_here(folder: Path, token: str) -> bool:
    """Whether a gateway's data folder is this one: it holds the very token that the gateway takes."""
    try:
        return bool(token) and (folder / "token").read_text().strip() == token
    except OSError:
        return False


def _up(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start everything on a data folder; the process, which ends with this one, and the gateway's address."""
    port = any_free()
    log = folder / "logs" / "up.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "backend.cli", "up", "--no-ui"),
                *("--data-dir", str(folder), "--port", str(port)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
    assert process.stdout is not None
    ready = process.stdout.readline()
    if not ready.startswith("ready: "):
        process.wait()
        process.stdout.close()
        raise LorapoolError(
            f"lorapool did not start on {folder}. Its last words: {_last_lines(log)}. Nothing in the folder was lost."
        )
    atexit.register(_end, process)
    return process, ready.removeprefix("ready: ").strip()


def _end(process: subprocess.Popen[str]) -> None:
    """Stop it in order, as Ctrl-C does."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "none"
