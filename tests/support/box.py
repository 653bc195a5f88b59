"""A whole deployment as a test sees it: `lorapool up` on free ports and an empty data folder, and its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from backend import samples
from backend.client import Client, TaskHandle
from backend.processes import wait_until
from backend.views import TaskView

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
"""Seconds that anything may take here; a test that waits so long has found a fault."""

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Box:
    """One running deployment. `kind` names its processes: store, gateway, supervisor, front end, instance, run."""

    def __init__(self, data_dir: Path, *, ui: bool = False, arguments: tuple[str, ...] = ()) -> None:
        self.data_dir = data_dir
        self.port, self.ui_port = free_port(), free_port()
        self._arguments = [*arguments, *(["--ui-port", str(self.ui_port)] if ui else ["--no-ui"])]
        self.process: subprocess.Popen[str] | None = None
        self.errors = data_dir.parent / f"{data_dir.name}-up.log"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.data_dir / "token").read_text().strip()

    def start(self, **environment: str) -> Box:
        """Start it and wait for its `ready:` line."""
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "backend.cli", "up", "--data-dir", str(self.data_dir)),
                    *("--port", str(self.port), *self._arguments),
                ],
                cwd=ROOT,
                env={**_plain_environment(), **ENVIRONMENT, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == f"ready: {self.endpoint}\n", self.errors.read_text()
        return self

    def client(self, token: str | None = None) -> Client:
        return Client(self.endpoint, self.token if token is None else token)

    def stop(self) -> int:
        """SIGTERM, as Ctrl-C; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def processes(self) -> dict[int, str]:
        """Every process that belongs to this deployment: pid -> command line."""
        found = {}
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                mine = str(self.data_dir) in line or process.environ().get("LORAPOOL_DATA_DIR") == str(
                    self.data_dir
                )
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = line
            except (psutil.Error, OSError):
                continue
        return found

    def pid(self, kind: str) -> int:
        """The pid of one process of the deployment."""
        if kind == "instance":
            with self.client() as client:
                pid = client.instances()[0].pid
            assert pid is not None
            return pid
        if kind == "run":
            return self._run()
        marks = {"store": "-server", "gateway": "backend.cli gateway", "supervisor": "backend.cli supervisor"}
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            if marks[kind] in " ".join(child.cmdline()):
                return child.pid
        raise AssertionError(f"no {kind} runs")

    def _run(self) -> int:
        """The training itself: it holds a descriptor named by PROGRESS_FD, as nothing else does."""
        for pid in self.processes():
            try:
                process = psutil.Process(pid)
                parent = process.parent()
                if parent is not None and os.getpgid(pid) == parent.pid and os.getsid(pid) == parent.pid:
                    return pid
            except (psutil.Error, OSError):
                continue
        raise AssertionError("no training runs")

    def install_samples(self) -> tuple[Path, Path]:
        return samples.install(self.data_dir)


def _plain_environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("LORAPOOL_", "REDIS_URL"))
    }


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait for something to become true; fail naming it."""
    assert wait_until(condition, seconds, every=0.05), f"did not happen within {seconds:.0f} s: {what}"


def training(box: Box, *extra: str, steps: int = 60, name: str = "lora") -> list[str]:
    """The command line of a small training on the samples, its output in a folder of its own."""
    model, dataset = box.install_samples()
    return [
        *("accelerate", "launch", "--mixed_precision", "no", "train_network.py"),
        *("--pretrained_model_name_or_path", str(model), "--train_data_dir", str(dataset)),
        *("--output_dir", str(box.data_dir / "out" / name), "--output_name", name, "--resolution", "64,64"),
        *("--network_module", "networks.lora", "--network_dim", "4", "--network_alpha", "4"),
        *("--learning_rate", "1e-3", "--optimizer_type", "AdamW", "--max_train_steps", str(steps)),
        *("--train_batch_size", "1", "--caption_extension", ".txt", "--cache_latents", "--seed", "1"),
        *("--mixed_precision", "no", "--save_precision", "fp16", "--max_data_loader_n_workers", "0"),
        *extra,
    ]


def at_step(task: TaskHandle, step: int) -> TaskView:
    """Wait until a training has come to `step`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        view = task.view()
        assert not view.final, f"it ended early: {view.state} {view.reason}"
        if view.progress is not None and view.progress.step >= step:
            return view
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached: {task.view()}")
