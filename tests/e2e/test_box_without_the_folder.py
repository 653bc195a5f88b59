"""A box that reaches nothing but the gateway's port, with a data folder of its own that is empty: a training there.

Its link is cut while the model comes and while results go. The boxes are network namespaces; the gateway is on the
hub, and nothing runs but on the box.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend import samples
from backend.pool.plain_box import MARK
from backend.processes import wait_until
from backend.records import Progress
from backend.store import outputs
from backend.task import Task, TaskState
from tests.support import namespaces
from tests.support.box import ENVIRONMENT, PATIENCE, ROOT, free_port
from tests.support.pool_box import PoolBox

pytestmark = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not())

TOKEN = "the-administrator-s-token"
LEASE, CUT = 10.0, 2.0
WEIGHT_MB = 64
"""What the model folder has beside the model, so that it takes a while to come."""


class Rig:
    """The deployment, and a box whose data folder is `own`."""

    def __init__(self, folder: Path) -> None:
        self.hosts = namespaces.Hosts(1)
        self.folder, self.own = folder, folder / "own"
        self.pool = PoolBox(folder / "data", LORAPOOL_LEASE_SECONDS=str(LEASE), LORAPOOL_LAUNCHER="none")
        self.data_dir = self.pool.data_dir.resolve()
        self.model, self.dataset = samples.install(self.data_dir)
        (self.model / "weight").write_bytes(os.urandom(1 << 20) * WEIGHT_MB)
        self.world = self.pool.world(autoscaler={"min": 0, "max": 1}, containers=[{"app": "built-in"}])
        self.port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.pool.supervisor()
        address = {"LORAPOOL_HOST": "0.0.0.0", "LORAPOOL_PORT": str(self.port)}
        self._spawn(
            *(self.hosts.hub, "hub", "gateway"),
            **{**address, "REDIS_URL": self.pool.server.url, "LORAPOOL_DATA_DIR": str(self.data_dir)},
        )
        probe = f"import socket; socket.create_connection(('127.0.0.1', {self.port}), 1)"
        ask = [*self.hosts.hub, sys.executable, "-c", probe]
        assert wait_until(
            lambda: not subprocess.run(ask, capture_output=True).returncode, PATIENCE, every=0.5
        )
        endpoint = f"http://{self.hosts.hub_address(1)}:{self.port}"
        self._words = ("worker", "--endpoint", endpoint, "--service", self.world.service, "--device", "cpu")
        self.worker(self.own)

    def worker(self, folder: Path) -> subprocess.Popen[bytes]:
        """A worker of the box, by a folder that stands for the deployment's."""
        words = (*self._words, "--data-dir", str(folder))
        return self._spawn(self.hosts.host(1), "box", *words)

    def stop_worker(self) -> int:
        """SIGTERM; its exit code."""
        self._processes[-1].send_signal(signal.SIGTERM)
        return self._processes[-1].wait(PATIENCE)

    def _spawn(self, prefix: list[str], name: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("LORAPOOL_", "REDIS_URL"))}
        given = {"LORAPOOL_LEASE_SECONDS": str(LEASE), "LORAPOOL_TOKEN": TOKEN}
        with (self.folder / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "backend.cli", *command],
                cwd=ROOT,
                env={**plain, **ENVIRONMENT, **given, **more},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def training(self, task: str, steps: int, *, samples_every: int) -> tuple[str, ...]:
        """A small training with all its files in its job folder, as the form makes it."""
        job = self.data_dir / "jobs" / task
        job.mkdir(parents=True)
        prompts = job / "prompts.txt"
        prompts.write_text("a red circle --w 64 --h 64 --s 2\n")
        return (
            *("accelerate", "launch", "--mixed_precision", "no", "train_network.py"),
            *("--pretrained_model_name_or_path", str(self.model), "--train_data_dir", str(self.dataset)),
            *("--output_dir", str(job / "output"), "--output_name", "moon", "--resolution", "64,64"),
            *("--network_module", "networks.lora", "--network_dim", "4", "--network_alpha", "4"),
            *("--learning_rate", "1e-3", "--optimizer_type", "AdamW", "--max_train_steps", str(steps)),
            *("--train_batch_size", "1", "--caption_extension", ".txt", "--seed", "1"),
            *("--mixed_precision", "no", "--save_precision", "fp16", "--max_data_loader_n_workers", "0"),
            *("--save_every_n_steps", "5", "--save_state", "--save_last_n_steps_state", "5"),
            *("--sample_every_n_steps", str(samples_every), "--sample_prompts", str(prompts)),
        )

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something to become true; fail naming it."""
        said = wait_until(lambda: bool(condition()), PATIENCE, every=0.05)
        assert said, (what, (self.folder / "box.out").read_text(), self.pool.log)

    def ended(self, name: str, *, attempts: int = 1) -> Task:
        """A task when it has ended, and ended well."""
        self.until(lambda: self.world.read(name).final, f"{name} has ended: {self.world.read(name)}")
        task = self.world.read(name)
        assert task.state is TaskState.SUCCEEDED, (task, self.log(name))
        assert task.attempt == attempts
        return task

    def log(self, name: str) -> str:
        return "\n".join(text for _, text in self.world.store.run(outputs.log(name, limit=1000)))

    def cut(self) -> None:
        """Take the link away for less than a lease."""
        self.hosts.cut(1)
        wait_until(lambda: False, CUT)
        self.hosts.mend(1)

    def close(self) -> None:
        try:
            for process in reversed(self._processes):
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    process.wait(PATIENCE)
            self.pool.close()
        finally:
            self.hosts.close()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("rig"))
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 of all files of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_training_a_picture_and_two_cuts(rig: Rig) -> None:
    # given a training that only this box can run, whose model is on its way
    argv = rig.training("moon", steps=12, samples_every=10)
    rig.world.put("moon", argv=argv)
    coming = rig.own / "mounts" / ".state" / "gateway"
    rig.until(
        lambda: any(1 << 20 < part.stat().st_size < WEIGHT_MB << 20 for part in _there(coming)), "it comes"
    )
    # when the link is cut in the middle of that, and again when it has a checkpoint to send
    rig.cut()
    rig.until(lambda: list((rig.own / "jobs/moon/output").glob("*-state")), "there is something to send")
    rig.cut()
    # then the training notices nothing, and ends when all that it made is where everybody looks for it
    done = rig.ended("moon")
    assert "fetched" in rig.log("moon") and "and checked there" in rig.log("moon")
    assert (rig.own / MARK).exists()
    made = files_of(rig.data_dir / "jobs/moon/output")
    assert made == files_of(rig.own / "jobs/moon/output")
    assert {"moon.safetensors", "moon-step00000010.safetensors"} <= made.keys()
    assert done.output == str(rig.data_dir / "loras" / "moon-moon.safetensors")
    assert files_of(rig.data_dir / "loras") == {"moon-moon.safetensors": made["moon.safetensors"]}
    # and what it said of files is true here, and in the words of the deployment
    written = rig.world.store.run(outputs.files("moon"))
    assert {file.kind for file in written} >= {"checkpoint", "state", "sample"}
    assert all(file.path.startswith(f"{rig.data_dir}/jobs/moon/") for file in written)
    assert all(Path(file.path).is_file() for file in written if file.kind == "sample")
    assert str(rig.own) not in rig.log("moon")
    # when a picture is drawn with it, on that box
    query = {"prompt": "a red circle", "steps": 2, "loras": ["moon-moon"], "output": "file"}
    rig.world.put("picture", kind="query", data=json.dumps(query).encode())
    rig.ended("picture")
    # then it lies in the deployment, and the model did not come again
    assert files_of(rig.data_dir / "outputs/picture") == files_of(rig.own / "outputs/picture")
    assert (rig.data_dir / "outputs/picture/00.png").is_file()
    # and nothing waits any more
    assert not list((rig.own / "mounts/.state/pending").glob("*.json"))


def test_a_box_that_leaves_hands_its_training_to_another(rig: Rig) -> None:
    # given a training on one box
    rig.world.put("sun", argv=rig.training("sun", steps=30, samples_every=100))
    rig.until(lambda: (rig.world.read("sun").progress or _NONE).step > 6, "it trains")
    # when that box is told to leave, and another one joins that has nothing of it
    assert rig.stop_worker() == 0
    waiting = rig.world.read("sun")
    assert waiting.state is TaskState.WAITING, waiting
    assert "state saved" in waiting.attempts[0].reason
    rig.worker(rig.folder / "other")
    # then that one goes on from the state that the first one has sent before it left
    rig.ended("sun", attempts=2)
    assert "from its last saved state" in rig.log("sun")
    saved = rig.world.store.run(outputs.files("sun"))
    assert any(file.kind == "state" for file in saved)
    steps = [file.step for file in saved if file.kind == "checkpoint"]
    assert steps == sorted(set(steps)), "no step was done twice"


_NONE = Progress(step=0, total=0)


def _there(folder: Path) -> list[Path]:
    return list(folder.glob("*.part"))
