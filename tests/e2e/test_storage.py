"""A training whose data lie in a bucket and whose LoRA goes there, over a kill of the server in the middle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import samples
from backend.storage.objects import ObjectStore
from tests.support.box import PATIENCE, Box, at_step, training, until
from tests.support.s3_server import S3Server

SERVICE = "from_bucket"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    running = S3Server(tmp_path_factory.mktemp("s3")).start().with_bucket()
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def bucket(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    """The folder of the bucket, with the sample model and data set in it."""
    folder = tmp_path_factory.mktemp("source")
    model, dataset = samples.install(folder)
    store = server.store("kohya/")
    for source, name in ((model, "models/tiny"), (dataset, "datasets/shapes")):
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            store.put(f"{name}/{file.relative_to(source).as_posix()}", file.read_bytes(), "")
    return store


@pytest.fixture(scope="module")
def box(server: S3Server, bucket: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("storage")
    description = {
        "metadata": {"name": SERVICE, "type": "ScalableJob", "instance": 1},
        "storage": [
            {
                "mount_path": "/workspace",
                "s3": {"path": "s3://bucket/kohya/", "endpoint": server.endpoint},
                "properties": {"resource_type": "model"},
            }
        ],
    }
    file = folder / "service.json"
    file.write_text(json.dumps(description))
    running = Box(folder / "data", arguments=(str(file),)).start(**server.environment)
    try:
        yield running
    finally:
        running.stop()
    until(lambda: not running.processes(), f"no process is left: {running.processes()}", 10.0)


def from_bucket(box: Box, name: str, *extra: str, steps: int = 60) -> list[str]:
    """The small training with every path below the mount, as somebody on EAS writes it."""
    where = {
        str(box.data_dir / "models" / "tiny-shapes"): "/workspace/models/tiny",
        str(box.data_dir / "out"): "/workspace/output",
    }
    words = training(box, *extra, steps=steps, name=name)
    data = words.index("--train_data_dir") + 1
    words[data] = "/workspace/datasets/shapes"
    for old, new in where.items():
        words = [word.replace(old, new) for word in words]
    return words


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(store: ObjectStore, path: str, folder: Path) -> bytes:
    store.download(store.head(path)[0], folder / "back", lambda _: None)
    return (folder / "back").read_bytes()


def test_data_in_and_lora_out_over_a_kill_of_the_server(
    box: Box, server: S3Server, bucket: ObjectStore, tmp_path: Path
) -> None:
    with box.client() as client:
        # given a training that has fetched its data, and has begun
        argv = from_bucket(box, "moon", "--save_every_n_steps", "20", steps=240)
        task = client.service(SERVICE).submit(argv=argv, id="moon")
        at_step(task, 25)
        # and whose first checkpoint has arrived while it goes on
        until(lambda: bool(bucket.below("output/moon/moon-step00000020.safetensors")), "the first checkpoint")
        assert not task.view().final
        # when the server is killed, and comes back when the training has had something for it
        server.kill()
        until(lambda: any("does not answer" in line for line in task.logs()), "the log says so")
        assert not task.view().final
        server.start()
        # then the training has not noticed, and says where everything is
        done = task.wait(PATIENCE)
        assert (done.state, done.attempt) == ("succeeded", 1), done.reason
        log = "\n".join(task.logs())
        assert "fetched" in log and "files sent to s3://bucket/kohya/, and checked there" in log
        assert "takes files again" in log
        # and everything that it wrote is there, equal by hash
        mounts = [path for path in (box.data_dir / "mounts").iterdir() if path.name != ".state"]
        folder = mounts[0] / "output" / "moon"
        names = {f"moon-step{step:08d}.safetensors" for step in range(20, 240, 20)} | {"moon.safetensors"}
        there = {remote.path.rpartition("/")[2]: remote.path for remote in bucket.below("output/moon")}
        assert names <= set(there)
        for name in names:
            assert sha256(content(bucket, there[name], tmp_path)) == sha256((folder / name).read_bytes()), (
                name
            )
        assert sha256(Path(done.output).read_bytes()) == sha256((folder / "moon.safetensors").read_bytes())
        sent_log = content(bucket, "jobs/moon/log.txt", tmp_path).decode()
        assert "and checked there" in sent_log and "fetched" in sent_log
        # and nothing waits any more
        assert not list((box.data_dir / "mounts" / ".state" / "pending").glob("*.json"))


def test_the_keys_are_nowhere_to_be_read(box: Box) -> None:
    with box.client() as client:
        seen = client.service(SERVICE).submit(command="env; cat /proc/self/cmdline", id="environment")
        assert seen.wait(PATIENCE).state == "succeeded"
        said = "\n".join(seen.logs()) + json.dumps(client.service(SERVICE).view().description)
    logs = "".join(path.read_text(errors="replace") for path in (box.data_dir / "logs").glob("*.log"))
    lines = " ".join(box.processes().values())
    for place in (said, logs, lines, box.errors.read_text()):
        assert "a secret of the tests" not in place
