"""Inputs: fetched once for all instances of a machine, kept as long as there is room, never over what is new here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.errors import RunFailed, StorageUnavailable
from backend.service import parse
from backend.storage.fetch import Fetcher, make_room, pinned
from backend.storage.mounts import Mount, mounts_of
from backend.storage.objects import Came, ObjectStore, Remote
from backend.storage.records import Records
from tests.support.box import ROOT
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server

LOTS = 1 << 40


class Counting(ObjectStore):
    """A store that counts what is fetched from it."""

    fetched: list[str]

    def download(self, remote: Remote, to: Path, moved: Callable[[int], None]) -> Came:
        self.fetched.append(remote.path)
        return super().download(remote, to, moved)


class Here:
    """A machine with one mount of a bucket's folder."""

    def __init__(self, server: S3Server, data_dir: Path, folder: str) -> None:
        tree = {
            "metadata": {"name": "svc", "type": "ScalableJob"},
            "storage": [{"mount_path": "/w", "s3": {"path": server.place(folder).path}}],
        }
        self.data_dir = data_dir
        self.mount: Mount = mounts_of(parse(tree).description, data_dir)[0]
        self.mount.folder.mkdir(parents=True, exist_ok=True)
        self.store = Counting(server.place(folder), server.credentials())
        self.store.fetched = []
        for name, data in (("set/1.png", b"one"), ("set/2.png", b"two"), ("other/x", b"x" * 1000)):
            self.store.put(name, data, "")

    def fetch(self, *names: str, budget: int = LOTS) -> list[str]:
        """Which objects came."""
        self.store.fetched.clear()
        Fetcher(self.mount, self.store, budget=budget).fetch(names)
        return sorted(self.store.fetched)

    def read(self, name: str) -> bytes:
        return (self.mount.folder / name).read_bytes()


@pytest.fixture
def here(server: S3Server, tmp_path: Path, request: pytest.FixtureRequest) -> Here:
    return Here(server, tmp_path / "data", f"{request.node.name}/")


def test_what_is_named_comes_once(here: Here) -> None:
    assert here.fetch("set") == ["set/1.png", "set/2.png"]
    assert here.read("set/2.png") == b"two"
    assert not (here.mount.folder / "other").exists()
    assert here.fetch("set", "set/1.png", "missing") == []
    # what changed in the store comes again, and what is gone there goes here
    here.store.put("set/1.png", b"one, anew", "")
    here.store._ask("delete_object", "set/2.png")
    assert here.fetch("set") == ["set/1.png"]
    assert here.read("set/1.png") == b"one, anew"
    assert not (here.mount.folder / "set/2.png").exists()


def test_what_was_made_here_is_not_written_over(here: Here) -> None:
    here.fetch("set")
    (here.mount.folder / "set/1.png").write_bytes(b"mine")
    here.store.put("set/1.png", b"theirs", "")
    done = Fetcher(here.mount, here.store, budget=LOTS).fetch(["set"])
    assert done.kept == ["set/1.png"]
    assert here.read("set/1.png") == b"mine"


def test_a_lost_record_costs_no_second_fetch(here: Here) -> None:
    here.fetch("set")
    Records(here.mount.state).forget("set/1.png")
    assert here.fetch("set") == []


_OTHER_INSTANCE = """
import sys
from pathlib import Path
from backend.service import ObjectPlace, parse
from backend.storage.credentials import Credentials
from backend.storage.fetch import Fetcher
from backend.storage.mounts import mounts_of
from backend.storage.objects import ObjectStore
data_dir, path, endpoint, key, secret = sys.argv[1:]
tree = {"metadata": {"name": "other", "type": "ScalableJob"}, "storage": [{"mount_path": "/w", "path": path}]}
mount = mounts_of(parse(tree).description, Path(data_dir))[0]
store = ObjectStore(ObjectPlace(path=path), Credentials(key, secret, endpoint=endpoint, addressing="path"))
print(Fetcher(mount, store, budget=1 << 40).fetch(["many"]).files, flush=True)
"""


def test_two_instances_at_once_fetch_each_file_once(here: Here, server: S3Server) -> None:
    count = 40
    for n in range(count):
        here.store.put(f"many/{n}", os.urandom(20_000), "")
    words = [str(here.data_dir), here.store.place.path, server.endpoint, ACCESS_KEY, SECRET_KEY]
    others = [
        subprocess.Popen(
            [sys.executable, "-c", _OTHER_INSTANCE, *words], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        for _ in range(2)
    ]
    said = [int(other.communicate(timeout=60)[0]) for other in others]
    assert sum(said) == count, said
    assert len(list((here.mount.folder / "many").iterdir())) == count


def test_the_longest_unused_goes_first_and_nothing_that_is_in_use(here: Here) -> None:
    here.fetch("other")  # 1000 bytes
    here.fetch("set")
    mounts = here.data_dir / "mounts"
    with pinned(here.data_dir, "a-task", [here.mount.folder / "set"]):
        make_room(mounts, 500, budget=1000)
        assert not (here.mount.folder / "other/x").exists()
        assert (here.mount.folder / "set/1.png").exists()
        with pytest.raises(RunFailed, match="its inputs need"):
            make_room(mounts, 999, budget=1000)
    make_room(mounts, 999, budget=1000)
    assert not (here.mount.folder / "set/1.png").exists()
    # what has gone comes again when it is named
    assert here.fetch("other", budget=2000) == ["other/x"]


def test_a_fetch_that_breaks_off_leaves_no_half_file(here: Here, server: S3Server) -> None:
    here.store.put("large", os.urandom(3 << 20), "")
    server.kill()
    try:
        with pytest.raises(StorageUnavailable):
            here.fetch("large")
    finally:
        server.start()
    assert not (here.mount.folder / "large").exists()
    assert here.fetch("large") == ["large"]


def test_nobody_waits_for_a_fetch_that_is_not_wanted_any_more(here: Here) -> None:
    stop = threading.Event()
    fetcher = Fetcher(here.mount, here.store, budget=LOTS, give_up=stop.is_set)
    with Records(here.mount.state).locked("set/1.png"):
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match="broken off"):
            fetcher.fetch(["set/1.png"])
        assert time.monotonic() - began < 10
        timer.join()
