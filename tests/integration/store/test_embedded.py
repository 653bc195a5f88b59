"""The bundled server: private, alone on its folder, and it forgets nothing that it acknowledged."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.errors import Conflict, StoreUnavailable
from backend.processes import alive, here, wait_until
from backend.store import embedded
from backend.store.call import command
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore


def ask(server: EmbeddedStore, *words: str) -> object:
    store = Store(server.url)
    try:
        return store.run(command(*words))
    finally:
        store.close()


def stranger(server: EmbeddedStore) -> redis.Redis:
    """A client without the password."""
    return redis.Redis(unix_socket_path=str(server.socket), retry=Retry(NoBackoff(), 0))


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    server = EmbeddedStore(tmp_path)
    server.start()
    try:
        for number in range(200):
            ask(server, "SET", f"k{number}", "v")
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        assert not server.running
        server.start()
        assert ask(server, "DBSIZE") == 200
    finally:
        server.stop()


def test_every_change_is_in_the_file_when_it_is_acknowledged(tmp_path: Path) -> None:
    server = EmbeddedStore(tmp_path)
    server.start()
    try:
        for number in range(50):
            ask(server, "SET", "k", f"value-{number}")
            (log,) = server.folder.glob("appendonlydir/*.incr.aof")
            assert f"value-{number}".encode() in log.read_bytes()
    finally:
        server.stop()


def test_a_second_one_on_the_same_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOCK_PATIENCE", 0.1)
    first, second = EmbeddedStore(tmp_path), EmbeddedStore(tmp_path)
    first.start()
    try:
        with pytest.raises(Conflict, match="in use"):
            second.start()
        assert ask(first, "PING") is True
    finally:
        first.stop()
    second.start()
    second.stop()


def test_only_its_owner_gets_in(tmp_path: Path) -> None:
    server = EmbeddedStore(tmp_path)
    server.start()
    try:
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in server.folder.iterdir() if p.is_file()}
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        assert modes["password"] == modes["server.conf"] == 0o600
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
        with pytest.raises(redis.AuthenticationError):
            stranger(server).ping()
        # the password stands in no argument list
        assert server.process is not None
        line = Path(f"/proc/{server.process.pid}/cmdline")
        if line.exists():
            assert (server.folder / "password").read_bytes() not in line.read_bytes()
        # and there is no port
        assert ask(server, "CONFIG", "GET", "port") == {b"port": b"0"}
    finally:
        server.stop()


def test_an_empty_password_file_is_not_a_store_without_a_password(tmp_path: Path) -> None:
    server = EmbeddedStore(tmp_path)
    (server.folder / "password").touch()
    server.start()
    try:
        with pytest.raises(redis.AuthenticationError):
            stranger(server).ping()
    finally:
        server.stop()


def test_a_long_path_gets_a_short_private_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    server = EmbeddedStore(folder)
    server.start()
    try:
        assert len(os.fsencode(server.socket)) < 104
        assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
        assert EmbeddedStore(folder).socket == server.socket
        assert ask(server, "PING") is True
    finally:
        server.stop()


def test_a_folder_for_sockets_that_is_not_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded.tempfile, "gettempdir", lambda: str(tmp_path))
    path = embedded.runtime_dir(tmp_path / "store")
    path.chmod(0o755)
    with pytest.raises(Conflict, match="this user alone"):
        embedded.runtime_dir(tmp_path / "store")
    path.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match="this user alone"):
        embedded.runtime_dir(tmp_path / "store")


def test_a_file_that_it_cannot_read_is_said_and_left_alone(tmp_path: Path) -> None:
    server = EmbeddedStore(tmp_path)
    server.start()
    ask(server, "SET", "a", "b")
    server.stop()
    (manifest,) = server.folder.glob("appendonlydir/*.manifest")
    manifest.write_text("this is no manifest")
    with pytest.raises(StoreUnavailable, match=r"server\.log"):
        server.start()
    assert manifest.read_text() == "this is no manifest"
    assert not server.running


def test_a_full_disk_is_said_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this test mounts a small file system, which needs root on Linux")
    server = EmbeddedStore(tmp_path)
    try:
        server.start()
        store, kept = Store(server.url), 0
        with pytest.raises(StoreUnavailable, match="free some"):
            for kept in range(10_000):
                store.run(command("SET", f"k{kept}", "v" * 1000))
        # reading goes on
        assert store.run(command("EXISTS", "k0")) == 1
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path)], check=True)
        server.start()
        # The change that filled the disk was in memory alone when the server was killed on top of it.
        assert store.run(command("EXISTS", f"k{kept - 2}")) == 1
        store.run(command("SET", "more", "x"))
        store.close()
    finally:
        server.stop()
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_it_ends_with_whoever_started_it_and_the_folder_is_free_again(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from backend.store.embedded import EmbeddedStore\n"
        "server = EmbeddedStore(Path(sys.argv[1]))\n"
        "server.start()\n"
        "print(server.process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    server = here(int(starter.stdout.readline()))
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    assert wait_until(lambda: not alive(server), 30.0)
    again = EmbeddedStore(tmp_path)
    again.start()
    again.stop()
