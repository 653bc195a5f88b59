"""One file on its way to a store: whole or in parts, over kills of the server, checked."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest

from backend.errors import StorageUnavailable
from backend.storage import upload
from backend.storage.objects import ObjectStore
from backend.storage.records import Records
from backend.storage.upload import ONE_PIECE, Changed, send
from tests.support.s3_server import S3Server


def written(folder: Path, size: int, *, seed: int = 0) -> Path:
    file = folder / f"{size}-{seed}.bin"
    file.write_bytes(random.Random(seed).randbytes(size))
    return file


def same(store: ObjectStore, path: str, file: Path, folder: Path) -> bool:
    """Whether the store gives back what the file holds."""
    back = folder / "back"
    store.download(store.head(path)[0], back, lambda _: None)
    return hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(file.read_bytes()).digest()


@pytest.mark.parametrize("size", [0, 1, ONE_PIECE, ONE_PIECE + 1, 2 * ONE_PIECE])
def test_a_file_arrives_as_it_is(server: S3Server, tmp_path: Path, size: int) -> None:
    store, records, file = server.store("sizes"), Records(tmp_path / "state"), written(tmp_path, size)
    moved: list[int] = []
    assert send(store, records, file, f"a b/{size}.bin", moved=moved.append)
    assert same(store, f"a b/{size}.bin", file, tmp_path)
    assert sum(moved) == size
    # and is not sent a second time
    moved.clear()
    assert send(store, records, file, f"a b/{size}.bin", moved=moved.append)
    assert moved == []
    # and a file that was only touched is not either
    os.utime(file)
    assert send(store, records, file, f"a b/{size}.bin", moved=moved.append)
    assert moved == []


def test_an_upload_goes_on_where_the_server_was_killed(server: S3Server, tmp_path: Path) -> None:
    store, records = server.store("kills"), Records(tmp_path / "state")
    file = written(tmp_path, 4 * ONE_PIECE + 17, seed=2)
    moved: list[int] = []

    def cut(count: int) -> None:
        moved.append(count)
        if len(moved) == 2:
            server.kill()

    # when the server is killed in the middle
    with pytest.raises(StorageUnavailable, match="does not answer"):
        send(store, records, file, "large.bin", moved=cut)
    begun = records.get("large.bin")
    assert begun is not None and begun.upload and not begun.etag
    server.start()
    # then a new process sends what is missing, and nothing else
    moved.clear()
    assert send(server.store("kills"), Records(tmp_path / "state"), file, "large.bin", moved=moved.append)
    assert sum(moved) == file.stat().st_size - 2 * ONE_PIECE
    assert same(store, "large.bin", file, tmp_path)
    _, noted = store.head("large.bin")
    assert noted == hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_upload_that_the_store_forgot_begins_anew(server: S3Server, tmp_path: Path) -> None:
    store, records = server.store("forgot"), Records(tmp_path / "state")
    file = written(tmp_path, 2 * ONE_PIECE, seed=3)
    with pytest.raises(StorageUnavailable):
        send(store, records, file, "x", give_up=lambda: True)
    begun = records.get("x")
    assert begun is not None
    store.abandon("x", begun.upload)
    assert send(store, records, file, "x")
    assert same(store, "x", file, tmp_path)


def test_another_file_of_the_same_name_is_not_put_together_with_the_first(
    server: S3Server, tmp_path: Path
) -> None:
    store, records = server.store("other"), Records(tmp_path / "state")
    file = tmp_path / "x.bin"
    file.write_bytes(written(tmp_path, 3 * ONE_PIECE, seed=4).read_bytes())
    moved: list[int] = []
    with pytest.raises(StorageUnavailable):
        send(store, records, file, "x", moved=moved.append, give_up=lambda: bool(moved))
    file.write_bytes(written(tmp_path, 3 * ONE_PIECE, seed=5).read_bytes())
    assert send(store, records, file, "x")
    assert same(store, "x", file, tmp_path)


def test_a_file_that_is_written_to_meanwhile_is_left_for_later(server: S3Server, tmp_path: Path) -> None:
    store, records = server.store("grows"), Records(tmp_path / "state")
    file = written(tmp_path, 2 * ONE_PIECE, seed=6)

    def grow(_: int) -> None:
        with file.open("ab") as more:
            more.write(b"more")

    with pytest.raises(Changed):
        send(store, records, file, "x", moved=grow)
    assert send(store, records, file, "x")
    assert same(store, "x", file, tmp_path)


def test_one_process_of_a_machine_sends_a_file(server: S3Server, tmp_path: Path) -> None:
    store, records, file = server.store("one"), Records(tmp_path / "state"), written(tmp_path, 10)
    with records.locked("x"):
        assert not send(store, records, file, "x")
    assert send(store, records, file, "x")


class Damaging:
    """A store that keeps something else than it was sent."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, path: str, data: bytes, sha256: str) -> None:
        self._store.put(path, data[:-1] + b"!", "0" * 64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_what_arrived_otherwise_does_not_count_as_sent(server: S3Server, tmp_path: Path) -> None:
    store, records, file = server.store("damaged"), Records(tmp_path / "state"), written(tmp_path, 100)
    with pytest.raises(StorageUnavailable, match="is not what was sent"):
        send(Damaging(store), records, file, "x")  # type: ignore[arg-type]
    assert send(store, records, file, "x")
    assert same(store, "x", file, tmp_path)


def test_refusals_say_that_waiting_is_no_help(server: S3Server, tmp_path: Path) -> None:
    wrong = ObjectStore(
        server.place("x"), type(server.credentials())("nobody", "x" * 12, endpoint=server.endpoint)
    )
    with pytest.raises(StorageUnavailable, match="refuses the credentials") as said:
        wrong.put("x", b"", "")
    assert said.value.refused
    nowhere = server.place("x").model_copy(update={"path": "s3://no-such-bucket/x/"})
    with pytest.raises(StorageUnavailable, match="no bucket") as said:
        ObjectStore(nowhere, server.credentials()).put("x", b"", "")
    assert said.value.refused


def test_parts_grow_with_the_file() -> None:
    assert upload.part_size(1) == ONE_PIECE
    assert -(-(5 << 40) // upload.part_size(5 << 40)) <= 10_000
