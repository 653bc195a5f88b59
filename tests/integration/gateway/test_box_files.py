"""Files through the gateway: what comes and goes for a task, and what is refused to whoever asks for more."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.errors import StorageUnavailable
from backend.links import OUTPUTS
from backend.service import parse
from backend.storage import following, incoming
from backend.storage.fetch import Fetcher, NoRoom
from backend.storage.following import Following, Root, carry_on
from backend.storage.gateway import GatewayStore, Ticket
from backend.storage.mounts import Mount, mounts_of
from backend.storage.objects import Came, Remote
from backend.storage.records import Records
from backend.storage.source import Unwanted
from backend.storage.upload import ONE_PIECE, send
from backend.store import tasks
from backend.store.outputs import Holder
from tests.support.gateway_box import TOKEN, Box, eventually
from tests.support.store_world import World

LOTS = 1 << 40
PATIENCE = 20.0


class Counting(GatewayStore):
    """Counts the bytes that come and the parts that go."""

    came, parts_sent = 0, 0

    def download(self, remote: Remote, to: Path, moved: Callable[[int], None]) -> Came:
        have = to.stat().st_size if to.exists() else 0

        def count(size: int) -> None:
            self.came += size
            moved(size)

        try:
            return super().download(remote, to, count)
        finally:
            self.came -= have

    def put_part(self, path: str, upload: str, number: int, data: bytes, **more):  # type: ignore[no-untyped-def]
        self.parts_sent += 1
        return super().put_part(path, upload, number, data, **more)


_NUMBERS = itertools.count(1)


class There:
    """A deployment's data folder with a data set and a model, and a box that has none of it."""

    def __init__(self, box: Box, own: Path) -> None:
        self.box, self.own = box, own
        tag = next(_NUMBERS)
        self.cats, self.dogs, self.base = (
            f"datasets/cats{tag}",
            f"datasets/dogs{tag}",
            f"models/base{tag}.safetensors",
        )
        self.stores: list[Counting] = []
        self.data_dir = box.data_dir.resolve()
        self.world = World(box.store_url, containers=[{"app": "built-in"}])
        for name, data in (
            (f"{self.cats}/1.png", b"one"),
            (f"{self.cats}/2.png", b"two"),
            (f"{self.dogs}/1.png", b"not asked for"),
            (self.base, os.urandom(300_000)),
        ):
            self.write(name, data)
        own.mkdir()
        plain = parse({"metadata": {"name": "any", "type": "ScalableJob"}}).description
        self.mount: Mount = mounts_of(plain, own, files_of=str(self.data_dir))[-1]

    def write(self, name: str, data: bytes) -> Path:
        file = self.data_dir / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def holder(self, *words: str, instance: str = "", **fields: object) -> Holder:
        """An attempt that runs."""
        names = [str(self.data_dir / word) if "/" in word else word for word in words]
        given = {"argv": ("train", *names), **fields}
        return self.world.running(instance or self.world.instance(), **given)

    def store(self, holder: Holder) -> Counting:
        ticket = Ticket(holder.task, holder.attempt, holder.instance)
        self.stores.append(Counting(self.box.url, TOKEN, ticket))
        return self.stores[-1]

    def close(self) -> None:
        for store in self.stores:
            store.close()
        self.world.close()

    def fetch(self, store: GatewayStore, *names: str, budget: int = LOTS) -> int:
        return Fetcher(self.mount, store, budget=budget).fetch(names or store.needs().files).files


@pytest.fixture
def there(box: Box, tmp_path: Path) -> Iterator[There]:
    there = There(box, tmp_path / "own")
    yield there
    there.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_task_has_what_it_names_once_and_nothing_else(there: There) -> None:
    one = there.holder(there.cats, there.base, "--lr", "1e-4")
    there.write(f"jobs/{one.task}/config.toml", b"rank = 4")
    there.write(f"jobs/{one.task}/log.txt", b"")
    store = there.store(one)
    # what is named and the task's own snapshot come, whatever else there is does not
    assert there.fetch(store) == 5
    assert (there.own / f"{there.cats}/2.png").read_bytes() == b"two"
    assert (there.own / f"jobs/{one.task}/config.toml").read_bytes() == b"rank = 4"
    assert not (there.own / "datasets/dogs").exists()
    # the next task that needs the same fetches nothing, nor when files were only touched
    other = there.store(there.holder(there.cats, there.base))
    assert there.fetch(other) == 0
    os.utime(there.data_dir / there.base, (1, 1))
    assert (there.fetch(other), other.came) == (0, 0)
    # what has changed or gone there changes and goes here, and what is otherwise here is replaced
    there.write(f"{there.cats}/1.png", b"one, anew")
    (there.data_dir / f"{there.cats}/2.png").unlink()
    (there.own / there.base).write_bytes(b"somebody else's")
    assert there.fetch(other) == 2
    assert (there.own / f"{there.cats}/1.png").read_bytes() == b"one, anew"
    assert not (there.own / f"{there.cats}/2.png").exists()
    # and beyond the budget nothing is begun
    there.write(f"{there.cats}/3.png", os.urandom(10_000))
    with pytest.raises(NoRoom, match="GB"):
        there.fetch(other, budget=5_000)


def test_a_query_means_what_it_means_in_the_deployment(there: There) -> None:
    there.write("loras/moon-0a1b2c3d.safetensors", b"lora")
    body: dict[str, object] = {"prompt": "a cat", "model": Path(there.base).stem, "loras": ["moon"]}
    store = there.store(there.holder(kind="query", argv=None, data=json.dumps(body).encode()))
    needs = store.needs()
    assert needs.files == (there.base, "loras/moon-0a1b2c3d.safetensors")
    said = json.loads(needs.data or "")
    assert (said["model"], said["loras"]) == (needs.files[0], [{"name": needs.files[1], "weight": 1.0}])
    # and what it cannot mean is answered as the app would
    body["loras"] = ["sun"]
    store = there.store(there.holder(kind="query", argv=None, data=json.dumps(body).encode()))
    assert "sun" in (store.needs().fault or "")
    # what the app makes of it goes where the deployment has its pictures
    path = f"{OUTPUTS}/{store.noted()['task']}/00.png"
    store.put(path, b"picture", sha256(b"picture"))
    assert (there.data_dir / path).read_bytes() == b"picture"


def test_a_fetch_goes_on_where_the_gateway_died(own_box: Box, tmp_path: Path) -> None:
    there = There(own_box, tmp_path / "own")
    try:
        _killed_halfway(there)
    finally:
        there.close()


def _killed_halfway(there: There) -> None:
    size = 40 << 20
    data = there.write("models/large.safetensors", os.urandom(1 << 20) * (size >> 20)).read_bytes()
    store = there.store(there.holder("models/large.safetensors"))
    there.fetch(store, f"jobs/{store.noted()['task']}")  # the permit is known
    halfway = threading.Event()
    killer = threading.Thread(target=lambda: (halfway.wait(PATIENCE), there.box.stop_gateway(signal.SIGKILL)))
    killer.start()
    fetcher = Fetcher(there.mount, store, budget=LOTS)
    seen = store.download

    def download(remote: Remote, to: Path, moved: Callable[[int], None]) -> Came:
        def slowly(count: int) -> None:
            moved(count)
            if store.came > size // 2 and not halfway.is_set():
                halfway.set()
                killer.join()

        return seen(remote, to, slowly)

    store.download = download  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailable, match="does not answer"):
        fetcher.fetch(["models/large.safetensors"])
    assert not (there.own / "models/large.safetensors").exists(), "half a file is never seen"
    there.box.start_gateway()
    before = store.came
    assert fetcher.fetch(["models/large.safetensors"]).files == 1
    assert store.came - before < size * 0.6, "what had come did not come again"
    assert sha256((there.own / "models/large.safetensors").read_bytes()) == sha256(data)


def test_results_arrive_whole_and_sending_goes_on_where_it_broke_off(there: There) -> None:
    holder = there.holder(there.cats)
    store, records = there.store(holder), Records(there.mount.state)
    inner = f"jobs/{holder.task}/output/moon.safetensors"
    file = there.own / inner
    file.parent.mkdir(parents=True)
    file.write_bytes(os.urandom(3 * ONE_PIECE + 5))
    # given a sending that is broken off in the middle
    with pytest.raises(StorageUnavailable, match="broken off"):
        send(store, records, file, inner, give_up=lambda: store.parts_sent == 2)
    assert not (there.data_dir / inner).exists(), "half a file is never seen"
    # when it goes on, after the end of the process that had begun it
    again = there.store(holder)
    assert send(again, Records(there.mount.state), file, inner)
    # then only the rest was sent, and what is there is what was here
    assert again.parts_sent == 2
    assert (there.data_dir / inner).read_bytes() == file.read_bytes()
    assert not list((there.data_dir / inner).parent.glob(".*"))
    # and the LoRA is published there
    assert again.publish(inner) == f"loras/moon-{holder.task}.safetensors"
    assert (there.data_dir / f"loras/moon-{holder.task}.safetensors").samefile(there.data_dir / inner)


def test_what_a_run_writes_and_removes_is_written_and_removed_there(there: There) -> None:
    holder = there.holder(there.cats)
    folder = there.own / "jobs" / holder.task
    state = folder / "output" / "moon-step1-state"
    state.mkdir(parents=True)
    (state / "model.safetensors").write_bytes(b"one")
    store = there.store(holder)
    following = Following(there.own, f"{holder.task}-x", store, there.mount.state, [_root(folder)])
    following.start()
    try:
        inner = f"jobs/{holder.task}/output/moon-step1-state"
        eventually(lambda: following.has(state))
        assert (there.data_dir / inner / "model.safetensors").read_bytes() == b"one"
        # a state that its run replaces
        shutil.rmtree(state)
        eventually(lambda: not (there.data_dir / inner).exists())
    finally:
        assert following.finish(PATIENCE, lambda: False) == []
        assert following.close() == []


def test_what_is_not_taken_is_named_and_not_waited_for(there: There) -> None:
    holder = there.holder(there.cats)
    folder = there.own / "elsewhere"
    folder.mkdir()
    (folder / "x").write_bytes(b"x")
    root = Root(folder, "datasets/")
    run = Following(there.own, f"{holder.task}-x", there.store(holder), there.mount.state, [root])
    assert run.finish(math.inf, lambda: False) == []
    assert run.refused == [folder / "x"]
    assert "no place where" in " ".join(run.notes())


def test_a_full_disk_there_keeps_the_file_here(there: There, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "SPARE", 1 << 60)
    with pytest.raises(incoming.NoSpace, match="waits on its box"):
        incoming.put(there.data_dir / "jobs" / "x", b"x", sha256(b"x"))
    assert incoming.trouble(OSError(28, "No space left on device")).status == 507


def test_what_a_killed_instance_left_is_sent_and_replaces_nothing(there: There) -> None:
    # given an instance that was killed with two checkpoints that were not sent
    first = there.holder(there.cats)
    folder = there.own / "jobs" / first.task / "output"
    folder.mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(b"first's")
    (folder / "b.safetensors").write_bytes(b"first's")
    root = _root(folder.parent)
    left = Following(there.own, f"{first.task}-gateway", there.store(first), there.mount.state, [root])
    left.start()
    left._stop_thread()
    # and another attempt that has written one of them meanwhile
    there.world.store.run(tasks.give_back(first, "killed", counted=True, max_delivery=9))
    second = there.world.running(there.world.instance(), first.task)
    there.store(second).put(f"jobs/{first.task}/output/b.safetensors", b"second's", sha256(b"second's"))
    # when its box looks after what was left
    environment = {"LORAPOOL_ENDPOINT": there.box.url, "LORAPOOL_TOKEN": TOKEN}
    assert carry_on(there.own, environment, lambda: False) == {}
    # then what was not there is there, and the other attempt's is as it was
    output = there.data_dir / "jobs" / first.task / "output"
    assert (output / "a.safetensors").read_bytes() == b"first's"
    assert (output / "b.safetensors").read_bytes() == b"second's"
    assert not following.pending(there.own)


def test_an_overtaken_attempt_reads_nothing_more(there: There) -> None:
    first = there.holder(there.cats)
    there.world.store.run(tasks.give_back(first, "lost", counted=True, max_delivery=9))
    there.world.running(there.world.instance(), first.task)
    with pytest.raises(Unwanted, match="another"):
        there.store(first).below(there.cats)


@pytest.mark.parametrize(
    "path",
    [
        "{dogs}/1.png",
        "jobs/another/config.toml",
        "token",
        "store/link-key",
        "logs/gateway.log",
        "{cats}/../../token",
        "{cats}/out",
        "{cats}/../../{dogs}/1.png",
    ],
)
def test_what_a_task_does_not_need_is_not_read(there: There, path: str) -> None:
    outside = there.own.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    store = there.store(there.holder(there.cats))
    (there.data_dir / f"{there.cats}/out").symlink_to(outside / "secret")
    with pytest.raises((StorageUnavailable, FileNotFoundError)) as refused:
        store.head(path.format(cats=there.cats, dogs=there.dogs))
    assert getattr(refused.value, "refused", True)
    assert [remote.path for remote in store.below(there.cats)] == [
        f"{there.cats}/1.png",
        f"{there.cats}/2.png",
    ]


@pytest.mark.parametrize(
    "path", ["datasets/cats/1.png", "loras/theirs.safetensors", "jobs/other/x", "store/x", "jobs/{}/out/x"]
)
def test_where_a_task_does_not_write_nothing_is_written(there: There, path: str) -> None:
    holder = there.holder(there.cats)
    folder = there.data_dir / "jobs" / holder.task
    folder.mkdir(parents=True)
    (folder / "out").symlink_to(there.data_dir / "loras")
    with pytest.raises(StorageUnavailable) as refused:
        there.store(holder).put(path.format(holder.task), b"x", sha256(b"x"))
    assert refused.value.refused


def test_an_instance_speaks_for_its_own_attempts_only(there: There) -> None:
    holder = there.holder(there.cats)
    for ticket in (
        Ticket(holder.task, holder.attempt, there.world.instance()),
        Ticket(holder.task, holder.attempt + 1, holder.instance),
    ):
        store = there.store(Holder(ticket.task, ticket.attempt, ticket.instance))
        with pytest.raises(StorageUnavailable, match="does not hold") as refused:
            store.needs()
        assert refused.value.refused


def _root(folder: Path) -> Root:
    return Root(folder, f"jobs/{folder.name}/")


def damaged(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


class TestDamage:
    """Bytes that are not those of the gateway are never accepted, wherever they were damaged."""

    def fetcher(self, there: There) -> tuple[Fetcher, Counting, Path]:
        """One that is to fetch the model; the file of what comes is there already, of the right version."""
        store = there.store(there.holder(there.base))
        (remote,) = store.below(there.base)
        return (
            Fetcher(there.mount, store, budget=LOTS),
            store,
            Records(there.mount.state).temporary(remote.path, remote.etag),
        )

    @pytest.mark.parametrize("have", [100_000, 300_000])
    def test_what_had_come_before_is_read_again(self, there: There, have: int) -> None:
        fetcher, store, fresh = self.fetcher(there)
        data = (there.data_dir / there.base).read_bytes()
        fresh.write_bytes(damaged(data)[:have])
        with pytest.raises(StorageUnavailable, match="damaged"):
            fetcher.fetch([there.base])
        assert not (there.own / there.base).exists()
        # when it had come whole, it counts
        fresh.write_bytes(data[:have])
        store.came = 0
        assert fetcher.fetch([there.base]).files == 1
        assert store.came == len(data) - have
        assert (there.own / there.base).read_bytes() == data

    def test_what_changes_on_the_way_is_noticed(self, there: There, monkeypatch: pytest.MonkeyPatch) -> None:
        fetcher, store, _ = self.fetcher(there)
        receive = store._receive

        def receive_damaged(path: str, headers: dict[str, str], take: Callable[[bytes], None]) -> str:
            return receive(path, headers, lambda data: take(damaged(data)))

        monkeypatch.setattr(store, "_receive", receive_damaged)
        with pytest.raises(StorageUnavailable, match="damaged"):
            fetcher.fetch([there.base])

    def test_an_upload_that_is_not_what_it_should_be_is_not_taken(self, there: There) -> None:
        holder = there.holder(there.cats)
        store, path = there.store(holder), f"jobs/{holder.task}/output/moon.safetensors"
        upload = store.begin(path, "0" * 64)
        parts = [store.put_part(path, upload, 1, b"one", offset=0, md5=hashlib.md5(b"one").hexdigest())]
        with pytest.raises(StorageUnavailable, match="damaged"):
            store.complete(path, upload, parts, sha256(b"another"))
        assert not (there.data_dir / path).exists()
