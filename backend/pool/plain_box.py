"""`lorapool worker --endpoint … --token …`: a machine joins a deployment through the port of its gateway.

It has a relay to the store and, for each GPU that is free, a worker in a process of its own; without a GPU one on the
CPU. It stays through losses of the network: an instance whose lease is over ends what it runs, and another one takes
its place as soon as the gateway answers.

Where it does not see the deployment's data folder, it has one of its own that stands for it: what tasks need comes
through the gateway, and what they make goes there.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from backend import links, paths
from backend.child import own_command
from backend.errors import Conflict, InvalidInput, LorapoolError, StoreUnavailable
from backend.pool import devices
from backend.pool.by_hand import Worker
from backend.processes import die_with_parent
from backend.settings import Settings
from backend.settings import read as read_settings
from backend.signal_safe import SignalSafeEvent
from backend.storage.following import carry_on
from backend.storage.gateway import PREFIX
from backend.worker.relay import Relay

log = logging.getLogger("lorapool.worker")

MARK = "box-of"
"""A file in a folder that stands for a deployment's: the address of its gateway. Nothing else is kept in such a one."""
_ANSWER = 10.0
_LOOK = 0.5
_SEND_EVERY = 15.0


@dataclass(frozen=True, slots=True)
class Folder:
    """The data folder of a box; `files_of` is the deployment's where this is not the same, else ''."""

    path: Path
    files_of: str


def join(endpoint: str, token: str, service: str, device: str, data_dir: Path | None) -> int:
    """Work for the deployment behind `endpoint` until SIGTERM or Ctrl-C; the exit code.

    `data_dir` None: the deployment's own where this machine has it under the same path, else one in the home folder.

    Raises:
        InvalidInput: the gateway does not answer, or does not know the token.
        Conflict: it has another version, or `data_dir` holds what is somebody else's.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    there = _ask(endpoint, token)
    if there["version"] != version("lorapool"):
        raise Conflict(
            f"the gateway at {endpoint} is lorapool {there['version']}, this machine has {version('lorapool')}: "
            "they must be the same. Nothing was started."
        )
    folder = _data_folder(data_dir, there, endpoint)
    cards = [] if device else list(devices.gpus())
    with Sender(folder, endpoint, token):
        if len(cards) > 1:
            return _one_for_each(cards, endpoint, token, service, folder.path)
        sockets = Path(tempfile.mkdtemp(prefix="lorapool-box-"))  # short: for the socket
        relay = Relay(endpoint, token, sockets / "store.sock")
        relay.start()
        try:
            settings = read_settings(
                data_dir=folder.path,
                REDIS_URL=relay.url,
                token=token,
                endpoint=endpoint,
                files_of=folder.files_of,
            )
            return _work(settings, service, device)
        finally:
            relay.close()
            shutil.rmtree(sockets, ignore_errors=True)


class Sender:
    """Sends what tasks have left on this box: after a loss of the network, or the end of an instance in the middle.

    What a task that runs has made is that task's to send.
    """

    def __init__(self, folder: Folder, endpoint: str, token: str) -> None:
        self._folder = folder
        self._environment = {**os.environ, "LORAPOOL_ENDPOINT": endpoint, "LORAPOOL_TOKEN": token}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="leftovers", daemon=True)

    def __enter__(self) -> None:
        if self._folder.files_of:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _live(self) -> None:
        waiting: dict[str, int] = {}
        while not self._over.is_set():
            before = waiting
            try:
                waiting = carry_on(self._folder.path, self._environment, self._over.is_set)
            except (LorapoolError, OSError) as error:
                log.warning("what tasks have left here could not be sent: %s", error)
            for task in sorted(waiting.keys() - before.keys()):
                log.info("%d files of task %s wait here to be sent", waiting[task], task)
            self._over.wait(_SEND_EVERY)


def _work(settings: Settings, service: str, device: str) -> int:
    worker = Worker(settings, service, device, steady=True)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: worker.stop())
    try:
        return worker.run()
    except StoreUnavailable:
        log.error("it was told to leave while the gateway could not be reached; its lease says the rest")
        return 1


def _ask(endpoint: str, token: str) -> dict[str, Any]:
    """What the gateway says to a box."""
    if not token:
        raise InvalidInput("a token is needed: --token, or LORAPOOL_TOKEN. It must be an administrator's.")
    try:
        answer = httpx.get(
            f"{endpoint.rstrip('/')}{PREFIX}", headers={"Authorization": token}, timeout=_ANSWER
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidInput(
            f"the gateway at {endpoint} does not answer ({error}); nothing was started"
        ) from None
    if answer.status_code != 200:
        raise InvalidInput(
            f"the gateway at {endpoint} refuses with {answer.status_code}: {answer.text[:300]}; nothing was started"
        )
    said: dict[str, Any] = answer.json()
    return said


def _data_folder(given: Path | None, there: Mapping[str, Any], endpoint: str) -> Folder:
    """The folder to work in: the deployment's, if this machine sees it, else one that stands for it."""
    theirs = Path(there["data_dir"])
    folder = given or (theirs if sees(theirs, there["probe"]) else own_folder(endpoint))
    if sees(folder, there["probe"]):
        if folder != theirs:
            raise Conflict(
                f"{folder} is the deployment's data folder {theirs} under another name, and command lines of tasks "
                "hold its paths: share it under the same one, or name an empty folder. Nothing was started."
            )
        return Folder(folder, "")
    if folder != theirs and folder.is_relative_to(theirs):
        raise Conflict(
            f"{folder} lies in {theirs}, which stands for another folder here; nothing was started"
        )
    _take(folder, endpoint)
    links.adopt(folder, bytes.fromhex(there["link_key"]))
    log.info("this box does not see %s: files come and go through the gateway, by way of %s", theirs, folder)
    return Folder(folder, str(theirs))


def sees(folder: Path, probe: Mapping[str, str]) -> bool:
    """Whether a folder is the one in which the gateway has just written a file with a random name."""
    try:
        return (folder / probe["name"]).read_text() == probe["text"]
    except OSError:
        return False


def own_folder(endpoint: str) -> Path:
    """Where a box keeps what it has of a deployment, unless it is told otherwise."""
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    name = "".join(sign if sign.isalnum() else "-" for sign in endpoint.partition("://")[2].rstrip("/"))
    return base / "lorapool" / name


def _take(folder: Path, endpoint: str) -> None:
    """Have the folder for this deployment alone: files of another one under the same names would be taken for its."""
    mark = folder / MARK
    try:
        if not mark.exists() and folder.is_dir() and any(folder.iterdir()):
            raise Conflict(
                f"{folder} has files that are not this deployment's, and does not see its data folder: name an empty "
                "folder with --data-dir, or leave that out. Nothing was started, and nothing in it was changed."
            )
        paths.create(folder)
        if not mark.exists():
            mark.write_text(f"{endpoint}\n")
    except OSError as error:
        raise Conflict(f"{folder} cannot be used ({error.strerror}); name another with --data-dir") from None


def _one_for_each(cards: list[str], endpoint: str, token: str, service: str, folder: Path) -> int:
    """A worker process for each GPU; they end with this one."""
    stopping = SignalSafeEvent()
    command = ("worker", "--endpoint", endpoint, "--service", service, "--data-dir", str(folder))
    children = [
        subprocess.Popen(
            [*own_command(*command), "--device", card],
            env={**os.environ, "LORAPOOL_TOKEN": token},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        for card in cards
    ]

    def stop(*_: object) -> None:
        stopping.set()
        for child in children:
            child.terminate()

    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, stop)
    while any(child.poll() is None for child in children):
        stopping.wait(_LOOK)
    return 0 if all(child.returncode == 0 for child in children) else 1
