"""`lorapool worker --endpoint … --token …`: a machine joins a deployment through the port of its gateway.

It has a relay to the store and, for each GPU that is free, a worker in a process of its own; without a GPU one on the
CPU. It stays through losses of the network: an instance whose lease is over ends what it runs, and another one takes
its place as soon as the gateway answers.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

import httpx

from backend import paths
from backend.child import own_command
from backend.errors import Conflict, InvalidInput, StoreUnavailable
from backend.pool import devices
from backend.pool.by_hand import Worker
from backend.processes import die_with_parent
from backend.settings import Settings
from backend.settings import read as read_settings
from backend.worker.relay import Relay

log = logging.getLogger("lorapool.worker")

_ANSWER = 10.0
_LOOK = 0.5


def join(endpoint: str, token: str, service: str, device: str, data_dir: Path | None) -> int:
    """Work for the deployment behind `endpoint` until SIGTERM or Ctrl-C; the exit code.

    `data_dir` None: the folder that the deployment itself has, which must be here under the same path.

    Raises:
        InvalidInput: the gateway does not answer, or does not know the token.
        Conflict: it has another version, or its data folder is not here.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    there = _ask(endpoint, token)
    if there["version"] != version("lorapool"):
        raise Conflict(
            f"the gateway at {endpoint} is lorapool {there['version']}, this machine has {version('lorapool')}: "
            "they must be the same. Nothing was started."
        )
    folder = _data_folder(data_dir, Path(there["data_dir"]))
    cards = [] if device else list(devices.gpus())
    if len(cards) > 1:
        return _one_for_each(cards, endpoint, token, service, folder)
    sockets = Path(tempfile.mkdtemp(prefix="lorapool-box-"))  # short: for the socket
    relay = Relay(endpoint, token, sockets / "store.sock")
    relay.start()
    try:
        settings = read_settings(data_dir=folder, REDIS_URL=relay.url, token=token, endpoint=endpoint)
        return _work(settings, service, device)
    finally:
        relay.close()
        shutil.rmtree(sockets, ignore_errors=True)


def _work(settings: Settings, service: str, device: str) -> int:
    worker = Worker(settings, service, device, steady=True)
    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, lambda *_: worker.stop())
    try:
        return worker.run()
    except StoreUnavailable:
        log.error("it was told to leave while the gateway could not be reached; its lease says the rest")
        return 1


def _ask(endpoint: str, token: str) -> dict[str, str]:
    """What the gateway says of itself."""
    if not token:
        raise InvalidInput("a token is needed: --token, or LORAPOOL_TOKEN. It must be an administrator's.")
    try:
        answer = httpx.get(
            f"{endpoint.rstrip('/')}/api/v1/info", headers={"Authorization": token}, timeout=_ANSWER
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidInput(
            f"the gateway at {endpoint} does not answer ({error}); nothing was started"
        ) from None
    if answer.status_code != 200:
        raise InvalidInput(
            f"the gateway at {endpoint} refuses with {answer.status_code}: {answer.text[:300]}; nothing was started"
        )
    said: dict[str, str] = answer.json()
    return said


def _data_folder(given: Path | None, theirs: Path) -> Path:
    """The folder to work in. Command lines of tasks hold paths below `theirs`."""
    folder = given or theirs
    if given is None and not folder.is_dir():
        raise Conflict(
            f"the data folder of the deployment, {theirs}, is not on this machine; nothing was started. Share it under "
            "the same path (NFS, SSHFS). Or name a folder of this machine with --data-dir: then only tasks whose files "
            "come by storage[] of their service can run here."
        )
    if folder != theirs:
        log.warning(
            "%s is not the deployment's data folder %s: tasks find here only what their service's storage[] brings",
            folder,
            theirs,
        )
    paths.create(folder)
    return folder


def _one_for_each(cards: list[str], endpoint: str, token: str, service: str, folder: Path) -> int:
    """A worker process for each GPU; they end with this one."""
    stopping = threading.Event()
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
