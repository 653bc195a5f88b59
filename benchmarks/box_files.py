"""A model's way to a box and a checkpoint's way back through the gateway, beside `cp` and a plain HTTP server.

Loopback, one file, page cache warm: what the software costs. A gigabit network carries 118 MB/s.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.service import parse
from backend.storage.fetch import Fetcher
from backend.storage.gateway import GatewayStore, Ticket
from backend.storage.mounts import Mount, mounts_of
from backend.storage.records import Records, sha256_of
from backend.storage.upload import send
from tests.support.gateway_box import TOKEN, Box
from tests.support.store_world import World

MEGABYTES = int(os.environ.get("BOX_FILES_MB", "512"))
_LOTS = 1 << 40
_SMALL, _SMALL_BYTES = 500, 20_000


class Timed(GatewayStore):
    """Notes when the last byte had come or gone: what is waited for after that is all checking."""

    last = 0.0

    def download(self, *arguments: Any) -> Any:
        came = super().download(*arguments)
        self.last = time.perf_counter()
        return came

    def put_part(self, *arguments: Any, **more: Any) -> Any:
        part = super().put_part(*arguments, **more)
        self.last = time.perf_counter()
        return part


def main() -> None:
    """Print seconds and MB/s of each way; and the seconds of it after the last byte."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir, own = Path(folder, "data"), Path(folder, "own")
        data_dir.mkdir()
        box = Box(data_dir).start()
        world = World(box.store_url)
        try:
            _measure(box, world, data_dir, own)
        finally:
            box.close()


def _measure(box: Box, world: World, data_dir: Path, own: Path) -> None:
    model, dataset = data_dir / "models" / "m.safetensors", data_dir / "datasets" / "d"
    for each in (model.parent, dataset):
        each.mkdir(parents=True, exist_ok=True)
    block = os.urandom(1 << 20)
    with model.open("wb") as file:
        for _ in range(MEGABYTES):
            file.write(block)
    for number in range(_SMALL):
        (dataset / f"{number}.png").write_bytes(os.urandom(_SMALL_BYTES))
    holder = world.running(world.instance(), data=f"train {model} {dataset}".encode())
    store = Timed(box.url, TOKEN, Ticket(holder.task, holder.attempt, holder.instance))
    mount = mounts_of(
        parse({"metadata": {"name": "any", "type": "ScalableJob"}}).description, own, files_of=str(data_dir)
    )[-1]
    fetch = functools.partial(_fetch, mount, store)
    own.mkdir()
    _line("cp", MEGABYTES, lambda: shutil.copyfile(model, own / "copy"))
    _line("sha256 of it, once", MEGABYTES, lambda: sha256_of(model))
    _line("python -m http.server", MEGABYTES, lambda: _plain(model, own / "plain"))
    _line("fetched through the gateway, checked", MEGABYTES, lambda: fetch("models/m.safetensors"), store)
    _line("the same again (unchanged)", MEGABYTES, lambda: fetch("models/m.safetensors"))
    _line(f"{_SMALL} files of 20 kB", _SMALL * _SMALL_BYTES / 1e6, lambda: fetch("datasets/d"))
    result = own / "jobs" / holder.task / "output" / "big.safetensors"
    result.parent.mkdir(parents=True)
    shutil.copyfile(model, result)
    path = f"jobs/{holder.task}/output/big.safetensors"
    _line(
        "sent through the gateway, checked",
        MEGABYTES,
        lambda: send(store, Records(mount.state), result, path),
        store,
    )
    assert sha256_of(data_dir / path) == sha256_of(model)


def _fetch(mount: Mount, store: GatewayStore, name: str) -> None:
    Fetcher(mount, store, budget=_LOTS).fetch([name])


def _plain(file: Path, to: Path) -> None:
    handler = functools.partial(_Quiet, directory=str(file.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/{file.name}"
        with urllib.request.urlopen(url) as answer, to.open("wb") as out:
            shutil.copyfileobj(answer, out, 1 << 20)
    finally:
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _line(what: str, megabytes: float, work: Callable[[], object], store: Timed | None = None) -> None:
    began = time.perf_counter()
    work()
    ended = time.perf_counter()
    seconds = ended - began
    tail = f"   {ended - store.last:5.2f} s of it after the last byte" if store is not None else ""
    print(f"{what:38} {seconds:7.2f} s {megabytes / seconds:8.0f} MB/s{tail}", flush=True)


if __name__ == "__main__":
    main()
