"""`lorapool doctor`: looks at what a deployment on this machine needs, names what is wrong, and says what to do."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx
import pynvml

from backend.deploy import storage_warnings
from backend.errors import LorapoolError
from backend.paths import ENDPOINT, MODELS
from backend.ports import why_not
from backend.settings import Settings
from backend.storage import credentials
from backend.storage.following import pending
from backend.store import server, services
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore, server_binary

GB = 1 << 30
LEAST_FREE, ENOUGH_FREE = 2 * GB, 20 * GB
"""Bytes free on the disk of the data folder: below the first nothing can be trained, below the second not for long."""
_OLDEST_STORE = (7, 0)
_TORCH_TAKES = 120.0


class Verdict(StrEnum):
    """Good, or works but not as well as it might, or does not work."""

    OK = "ok"
    NOTE = "note"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what mends it."""

    part: str
    verdict: Verdict
    said: str
    mend: str = ""


def examine(settings: Settings, *, ports: tuple[int, ...] = (8000, 8001)) -> Iterator[Finding]:
    """Look at everything, one part after the other. Changes nothing and starts nothing."""
    running = _running(settings.data_dir)
    looks: tuple[Callable[[], Finding], ...] = (
        python,
        lambda: data_folder(settings.data_dir),
        lambda: disk(settings.data_dir, least=max(LEAST_FREE, int(settings.least_free_gb * GB))),
        lambda: storage(settings),
        lambda: store(settings),
        *(() if running else tuple(_port(settings.host, port) for port in ports)),
        *((lambda: gateway(running), lambda: described(settings)) if running else ()),
        gpu,
        torch,
        lambda: models(settings.data_dir),
        *((lambda: sd_scripts(Path(settings.sd_scripts_dir)),) if settings.sd_scripts_dir else ()),
    )
    for look in looks:
        yield look()


def python() -> Finding:
    """The interpreter."""
    return Finding("python", Verdict.OK, f"{platform.python_version()} at {sys.executable}")


def data_folder(folder: Path) -> Finding:
    """Whether it is there and may be written, and whether its token is for its owner only."""
    if not folder.exists():
        parent = next(each for each in (folder, *folder.parents) if each.exists())
        if not os.access(parent, os.W_OK):
            return Finding(
                "data folder",
                Verdict.FAULT,
                f"{folder} is not there, and {parent} may not be written",
                "Choose another with --data-dir, or make it writable for this user.",
            )
        return Finding("data folder", Verdict.OK, f"{folder} is made at the first start")
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            "data folder",
            Verdict.FAULT,
            f"{folder} is not a folder that this user may read and write",
            f"Give it to this user (chown -R {os.getuid()} {folder}), or choose another with --data-dir.",
        )
    token = folder / "token"
    if token.exists() and token.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding(
            "data folder", Verdict.FAULT, f"other users may read {token}", f"Run: chmod 600 {token}"
        )
    return Finding("data folder", Verdict.OK, str(folder))


def disk(folder: Path, *, least: int = LEAST_FREE, enough: int = ENOUGH_FREE) -> Finding:
    """Bytes free where the data folder lies."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    said = f"{free / GB:.1f} GB free at {there}"
    mend = (
        "Remove what is not needed (`lorapool clean --dry-run --keep states=14d` says what may go), or move the data "
        "folder to a larger disk."
    )
    if free < least:
        return Finding("disk", Verdict.FAULT, said, mend)
    return Finding(
        "disk", Verdict.OK if free >= enough else Verdict.NOTE, said, "" if free >= enough else mend
    )


def storage(settings: Settings) -> Finding:
    """Whether results of trainings wait to be sent to an object store, and its credentials can be read."""
    waiting = pending(settings.data_dir)
    try:
        faults = [
            credentials.why_none(place)
            for place in waiting.values()
            if credentials.find(place, settings.data_dir, credentials.here()) is None
        ]
    except LorapoolError as error:
        return Finding(
            "storage", Verdict.FAULT, str(error), "Mend the file; docs/how-to/s3.md says how it looks."
        )
    if faults:
        return Finding("storage", Verdict.FAULT, faults[0], "docs/how-to/s3.md says where credentials go.")
    if waiting:
        names = ", ".join(sorted(waiting)[:3])
        return Finding(
            "storage",
            Verdict.NOTE,
            f"{len(waiting)} tasks run or have results that are not sent yet: {names}",
            "They are sent when their object store answers; the log of the supervisor says why it does not.",
        )
    return Finding("storage", Verdict.OK, "nothing waits to be sent")


def store(settings: Settings) -> Finding:
    """The server that `REDIS_URL` names, or the program of the embedded one."""
    if not settings.redis_url:
        try:
            return Finding("store", Verdict.OK, f"embedded, {server_binary()}")
        except LorapoolError as error:
            return Finding("store", Verdict.FAULT, "there is no program to start", str(error))
    connection = Store(settings.redis_url)
    try:
        info = connection.run(server.facts())
    except LorapoolError as error:
        return Finding(
            "store",
            Verdict.FAULT,
            f"the server that REDIS_URL names does not answer: {error}",
            "Start it, mend the address, or unset REDIS_URL to use the embedded one.",
        )
    except Exception as error:
        # A wrong password or address comes in many classes of the client library.
        return Finding(
            "store", Verdict.FAULT, str(error), "Mend REDIS_URL, or unset it to use the embedded store."
        )
    finally:
        connection.close()
    return _store_is(info)


def _store_is(info: dict[str, str]) -> Finding:
    version = info.get("valkey_version") or info.get("redis_version", "0")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _OLDEST_STORE:
        return Finding("store", Verdict.FAULT, f"version {version}", "Use Redis 7 or Valkey 7 or newer.")
    if info.get("aof_enabled") != "1":
        return Finding(
            "store",
            Verdict.NOTE,
            f"version {version}, without an append-only file: what was accepted is lost when it dies",
            "Set `appendonly yes` and `appendfsync always` (or everysec) in its configuration.",
        )
    return Finding("store", Verdict.OK, f"version {version}, with an append-only file")


def _port(host: str, port: int) -> Callable[[], Finding]:
    def look() -> Finding:
        reason = why_not(host, port)
        if reason:
            return Finding(
                f"port {port}",
                Verdict.FAULT,
                f"cannot be used on {host}: {reason}",
                "Stop what listens there, or start lorapool with --port or --ui-port and another number.",
            )
        return Finding(f"port {port}", Verdict.OK, "free")

    return look


def _running(folder: Path) -> str:
    """The address of the gateway of a deployment that is up on this data folder, else empty."""
    try:
        return (folder / ENDPOINT).read_text().strip()
    except OSError:
        return ""


def gateway(endpoint: str) -> Finding:
    """The gateway of a deployment that says it is up."""
    try:
        if httpx.get(f"{endpoint}/healthz", timeout=5.0, trust_env=False).status_code == 200:
            return Finding("gateway", Verdict.OK, f"answers at {endpoint}")
    except httpx.HTTPError:
        pass
    return Finding(
        "gateway",
        Verdict.FAULT,
        f"does not answer at {endpoint}",
        "If `lorapool up` runs, see gateway.log in logs/ of the data folder; if it does not, start it.",
    )


def described(settings: Settings) -> Finding:
    """Whether the instances of every service come up, and whether there are credentials for its storage."""
    connection = Store(settings.redis_url or EmbeddedStore(settings.data_dir).url)
    try:
        found = [connection.run(services.get(name)) for name in connection.run(services.names())]
    except LorapoolError as error:
        return Finding("services", Verdict.NOTE, f"cannot be asked about: {error}", "Mend the store first.")
    finally:
        connection.close()
    trouble = [
        f"{each.description.name}: {each.trouble}" for each in found if each.trouble and not each.stopped
    ]
    if trouble:
        return Finding(
            "services",
            Verdict.FAULT,
            "; ".join(trouble),
            "Mend what it says. Where an init command failed, `lorapool service init-log NAME` has what it printed.",
        )
    unready = [
        f"{each.description.name}: {said}"
        for each in found
        for said in storage_warnings(each.description, settings, credentials.here())
    ]
    if unready:
        return Finding(
            "services",
            Verdict.FAULT,
            " ".join(unready),
            "docs/how-to/s3.md says where credentials go. If `lorapool up` was started with them in its environment, "
            "give them to this command too.",
        )
    return Finding("services", Verdict.OK, f"{len(found)}, nothing keeps their instances from coming up")


def gpu() -> Finding:
    """What NVML counts."""
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        names = [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except pynvml.NVMLError as error:
        if _has_nvidia_card():
            return Finding(
                "GPU",
                Verdict.FAULT,
                f"there is an NVIDIA card, but its driver does not answer: {error}",
                "Install or reload the driver; `nvidia-smi` has to list the card. A container needs --gpus all.",
            )
        names = []
    if not names:
        mend = "With an NVIDIA card in this machine, install its driver. Without one this is as it should be."
        return Finding("GPU", Verdict.NOTE, "none: trainings run on the CPU", mend)
    return Finding("GPU", Verdict.OK, ", ".join(names))


def _has_nvidia_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether the PCI bus has a display controller of NVIDIA's (vendor 0x10de, class 0x03)."""
    for device in devices.glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
        except OSError:
            continue
        if vendor.strip() == "0x10de" and kind.startswith("0x03"):
            return True
    return False


_TORCH = (
    "import json, torch; "
    "print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.is_available(), torch.cuda.device_count()]))"
)


def torch() -> Finding:
    """Whether it can be imported, in a process of its own, and sees the GPUs that NVML sees."""
    again = "Install it anew: .venv/bin/python -m pip install -c constraints.txt torch"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TORCH], capture_output=True, text=True, timeout=_TORCH_TAKES
        )
    except subprocess.TimeoutExpired:
        return Finding("torch", Verdict.FAULT, f"was not imported within {_TORCH_TAKES:.0f} s", again)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Finding("torch", Verdict.FAULT, f"cannot be imported: {last}", again)
    version, cuda, available, count = json.loads(done.stdout.splitlines()[-1])
    if gpu().verdict is Verdict.OK and not available:
        why = "this build has no CUDA" if cuda is None else f"CUDA {cuda} does not start with this driver"
        return Finding(
            "torch",
            Verdict.FAULT,
            f"{version} sees no GPU: {why}",
            "Install the build for your driver: see https://pytorch.org/get-started/locally",
        )
    where = f"CUDA {cuda}, {count} GPU{'s' if count != 1 else ''}" if available else "CPU"
    return Finding("torch", Verdict.OK, f"{version}, {where}")


def models(folder: Path) -> Finding:
    """Whether there is a base model to train on."""
    place = folder / MODELS
    found = [
        each.name
        for each in (sorted(place.iterdir()) if place.is_dir() else ())
        if each.suffix == ".safetensors" or (each / "model_index.json").exists()
    ]
    if not found:
        return Finding(
            "models",
            Verdict.NOTE,
            f"none in {place}",
            "Put a diffusers folder or a .safetensors file there; `lorapool demo` brings a small one to try with.",
        )
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return Finding("models", Verdict.OK, ", ".join(found[:3]) + more)


def sd_scripts(folder: Path) -> Finding:
    """The checkout that `SD_SCRIPTS_DIR` names."""
    if (folder / "train_network.py").is_file():
        return Finding("sd-scripts", Verdict.OK, str(folder))
    return Finding(
        "sd-scripts",
        Verdict.FAULT,
        f"{folder} holds no train_network.py",
        "Point SD_SCRIPTS_DIR at a checkout of sd-scripts, or unset it to use the built-in trainer.",
    )
