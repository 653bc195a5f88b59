"""`lorapool doctor` on set-ups that are broken one way each: the fault is named, and its mend."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from backend import doctor
from backend.doctor import GB, Finding, Verdict
from backend.service import parse
from backend.settings import Settings
from backend.store import services
from backend.store.connection import Store
from backend.store.embedded import EmbeddedStore
from tests.support.box import free_port


def settings(data_dir: Path, **more: str) -> Settings:
    return Settings(data_dir=data_dir, **more)  # type: ignore[arg-type]


def is_fault(finding: Finding, *words: str) -> bool:
    return finding.verdict is Verdict.FAULT and bool(finding.mend) and all(w in finding.said for w in words)


def run(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("LORAPOOL_", "REDIS_URL"))
    }
    return subprocess.run(
        [sys.executable, "-m", "backend.cli", "doctor", "--data-dir", str(data_dir), *arguments],
        capture_output=True,
        text=True,
        env=own | environment,
    )


def test_a_sound_machine_has_no_fault(tmp_path: Path) -> None:
    ports = ("--port", str(free_port()), "--ui-port", str(free_port()))
    said = run(tmp_path / "data", *ports, "--json")
    found = {each["part"]: each for each in json.loads(said.stdout)}
    assert {"python", "data folder", "disk", "store", "GPU", "torch", "models"} <= set(found)
    assert found["torch"]["verdict"] == "ok"
    assert found["models"]["verdict"] == "note" and "lorapool demo" in found["models"]["mend"]
    assert not (tmp_path / "data").exists()
    # A disk that is nearly full is the machine's own affair.
    assert [part for part, each in found.items() if each["verdict"] == "fault" and part != "disk"] == []


def test_everything_broken_at_once_is_named_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o644)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = run(
            tmp_path,
            *("--port", str(port), "--ui-port", str(free_port())),
            REDIS_URL=f"redis://127.0.0.1:{free_port()}",
            SD_SCRIPTS_DIR=str(tmp_path),
        )
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    faults = [line for line in said.stdout.splitlines() if line.startswith("fault")]
    for part in ("data folder", "store", f"port {port}", "sd-scripts"):
        assert any(part in line for line in faults), part
    assert f"chmod 600 {tmp_path / 'token'}" in said.stdout
    assert "unset REDIS_URL" in said.stdout


def test_a_disk_that_is_full_is_a_fault_and_one_that_soon_is_a_note(tmp_path: Path) -> None:
    assert is_fault(doctor.disk(tmp_path, least=1 << 60), "GB free")
    assert doctor.disk(tmp_path, least=0, enough=1 << 60).verdict is Verdict.NOTE
    assert doctor.disk(tmp_path / "not" / "there", least=0, enough=0).verdict is Verdict.OK
    assert GB == 2**30


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert is_fault(doctor.data_folder(tmp_path), "may read and write")
    assert is_fault(doctor.data_folder(tmp_path / "new"), "may not be written")


def test_a_file_in_the_place_of_the_data_folder_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert is_fault(doctor.data_folder(tmp_path / "data"), "is not a folder")


def test_a_store_is_asked_what_it_is(tmp_path: Path) -> None:
    server = EmbeddedStore(tmp_path)
    server.start()
    try:
        found = doctor.store(settings(tmp_path, REDIS_URL=server.url))
        assert found.verdict is Verdict.OK and "append-only" in found.said
        wrong = server.url.replace("unix://:", "unix://:wrong")
        assert wrong != server.url
        assert doctor.store(settings(tmp_path, REDIS_URL=wrong)).verdict is Verdict.FAULT
        _a_bucket_without_credentials_is_said(settings(tmp_path, REDIS_URL=server.url))
    finally:
        server.stop()


def _a_bucket_without_credentials_is_said(here: Settings) -> None:
    mounted = {"mount_path": "/mnt/data", "oss": {"path": "oss://pictures/"}}
    raw = {"metadata": {"name": "kohya_job", "type": "ScalableJob"}, "storage": [mounted]}
    store = Store(here.redis_url)
    assert doctor.described(here).verdict is Verdict.OK
    store.run_all(services.save(parse(raw).description, token="t", front_end_token="f", created_at=1.0))
    store.close()
    found = doctor.described(here)
    assert is_fault(found, "kohya_job", "oss://pictures/", "OSS_ACCESS_KEY_ID") and "s3.md" in found.mend


@pytest.mark.parametrize(
    ("info", "verdict", "word"),
    [
        ({"redis_version": "6.2.1", "aof_enabled": "1"}, Verdict.FAULT, "6.2.1"),
        ({"redis_version": "7.4.0", "aof_enabled": "0"}, Verdict.NOTE, "without an append-only file"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2", "aof_enabled": "1"}, Verdict.OK, "9.1.2"),
    ],
)
def test_a_store_that_is_old_or_forgets_is_said(info: dict[str, str], verdict: Verdict, word: str) -> None:
    found = doctor._store_is(info)
    assert found.verdict is verdict and word in found.said


def test_a_card_without_a_driver_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, vendor, kind in (
        ("a", "0x8086", "0x030000"),
        ("b", "0x10de", "0x040300"),
        ("c", "0x10de", "0x030200"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert doctor._has_nvidia_card(tmp_path)
    (tmp_path / "c" / "class").unlink()
    assert not doctor._has_nvidia_card(tmp_path)
    if doctor.gpu().verdict is Verdict.NOTE:
        monkeypatch.setattr(doctor, "_has_nvidia_card", lambda: True)
        assert is_fault(doctor.gpu(), "driver does not answer")


def test_a_gateway_that_is_said_to_run_is_asked(tmp_path: Path) -> None:
    (tmp_path / "endpoint").write_text(f"http://127.0.0.1:{free_port()}\n")
    found = {each.part: each for each in doctor.examine(settings(tmp_path))}
    assert is_fault(found["gateway"], "does not answer")
    assert not any(part.startswith("port") for part in found)


_BREAK = """
set -e
mount -t tmpfs -o size=1m tmpfs "$1"
mkdir "$1/models"
head -c 2m /dev/zero > "$1/models/half-a-model.safetensors" || true   # the disk is full now
mkdir "$2/0000:01:00.0"
echo 0x10de > "$2/0000:01:00.0/vendor"
echo 0x030000 > "$2/0000:01:00.0/class"
mount --bind "$2" /sys/bus/pci/devices
shift 2
exec "$@"
"""


def in_a_broken_machine(data_dir: Path, cards: Path, *command: str, **environment: str) -> str:
    """What a command prints where the disk is full and there is a card without a driver; that ends with it."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    probe = [*namespace, "mount", "-t", "tmpfs", "tmpfs", str(cards)]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk to fill")
    if doctor.gpu().verdict is Verdict.OK:
        pytest.skip("this machine's driver answers for whatever card there is")
    done = subprocess.run(
        [*namespace, "sh", "-c", _BREAK, "sh", str(data_dir), str(cards), *command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_machine_that_is_broken_in_four_ways_is_told_all_four_with_their_mends(tmp_path: Path) -> None:
    data_dir, cards = tmp_path / "data", tmp_path / "cards"
    data_dir.mkdir()
    cards.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = in_a_broken_machine(
            data_dir,
            cards,
            *(sys.executable, "-m", "backend.cli", "doctor", "--json", "--data-dir", str(data_dir)),
            *("--port", str(port), "--ui-port", str(free_port())),
            REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        )
    found = {each["part"]: each for each in json.loads(text)}
    expected = {
        "disk": ("0.0 GB free", "Remove what is not needed"),
        "store": ("does not answer", "REDIS_URL"),
        f"port {port}": ("cannot be used", "--port"),
        "GPU": ("driver does not answer", "nvidia-smi"),
    }
    for part, (said, mend) in expected.items():
        assert found[part]["verdict"] == "fault", found[part]
        assert said in found[part]["said"] and mend in found[part]["mend"], found[part]
