"""Bad input gives one clear message, and changes nothing: no task, no job folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from backend.errors import LorapoolError
from tests.support.box import PATIENCE, Box, training


def _without(argv: list[str], name: str) -> list[str]:
    at = argv.index(name)
    return argv[:at] + argv[at + 2 :]


def _with(argv: list[str], name: str, value: str) -> list[str]:
    return [*_without(argv, name), name, value] if name in argv else [*argv, name, value]


def _empty_folder(box: Box, argv: list[str]) -> list[str]:
    folder = box.data_dir / "datasets" / "empty"
    folder.mkdir(parents=True, exist_ok=True)
    return _with(argv, "--train_data_dir", str(folder))


def _no_pattern(box: Box, argv: list[str]) -> list[str]:
    folder = box.data_dir / "datasets" / "plain" / "pictures"
    shutil.copytree(box.data_dir / "datasets" / "moonlight" / "10_sks style", folder, dirs_exist_ok=True)
    return _with(argv, "--train_data_dir", str(folder.parent))


def _broken_image(box: Box, argv: list[str]) -> list[str]:
    folder = box.data_dir / "datasets" / "broken" / "1_sks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of a picture")
    (folder / "cut.txt").write_text("a red circle")
    return _with(argv, "--train_data_dir", str(folder.parent))


def _model_without_unet(box: Box, argv: list[str]) -> list[str]:
    folder = box.data_dir / "models" / "no-unet"
    shutil.copytree(box.data_dir / "models" / "tiny-shapes", folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "unet")
    return _with(argv, "--pretrained_model_name_or_path", str(folder))


def _linked_outside(box: Box, argv: list[str]) -> list[str]:
    link = box.data_dir / "datasets" / "link"
    link.unlink(missing_ok=True)
    link.symlink_to("/etc")
    return _with(argv, "--train_data_dir", str(link))


CASES: dict[str, tuple[Callable[[Box, list[str]], list[str]], str, str]] = {
    "missing data folder": (
        lambda box, argv: _with(argv, "--train_data_dir", str(box.data_dir / "datasets" / "nowhere")),
        "train_data_dir",
        "nowhere",
    ),
    "empty data folder": (_empty_folder, "train_data_dir", "empty"),
    "folder without the pattern": (_no_pattern, "train_data_dir", "<repeats>_<name>"),
    "broken image": (_broken_image, "train_data_dir", "cut.png"),
    "path outside": (
        lambda box, argv: _with(argv, "--train_data_dir", "/etc"),
        "train_data_dir",
        "outside the data folder",
    ),
    "path outside by a link": (_linked_outside, "train_data_dir", "outside the data folder"),
    "unknown argument": (lambda box, argv: [*argv, "--network_dimm", "8"], "network_dimm", "network_dim"),
    "network_dim abc": (lambda box, argv: _with(argv, "--network_dim", "abc"), "network_dim", "abc"),
    "model without a part": (_model_without_unet, "pretrained_model_name_or_path", "unet"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_training_that_cannot_work_is_refused(box: Box, case: str) -> None:
    spoil, field, word = CASES[case]
    with box.client() as client:
        argv = spoil(box, training(box, name="never"))
        tasks_before = [task.id for task in client.tasks(limit=200)]
        jobs_before = sorted((box.data_dir / "jobs").iterdir())
        with pytest.raises(LorapoolError) as caught:
            client.service("kohya_job").submit(argv=argv)
        message = str(caught.value)
        assert getattr(caught.value, "field", "") == field
        assert word in message
        assert "Traceback" not in message and "\n" not in message
        assert [task.id for task in client.tasks(limit=200)] == tasks_before
        assert sorted((box.data_dir / "jobs").iterdir()) == jobs_before
        assert not (box.data_dir / "out" / "never").exists()


@pytest.mark.parametrize("token", ["", "wrong", "wrong" * 50])
def test_a_wrong_token_changes_nothing(box: Box, token: str) -> None:
    with box.client() as client, box.client(token) as stranger:
        before = [task.id for task in client.tasks(limit=200)]
        with pytest.raises(LorapoolError) as caught:
            stranger.service("kohya_job").submit(command="echo hello")
        assert caught.value.status == 401
        assert "token" in str(caught.value)
        assert [task.id for task in client.tasks(limit=200)] == before


def test_a_full_disk_ends_the_trainer_with_its_reason_and_no_half_file(box: Box) -> None:
    # given an output folder on a file system that is too small for the LoRA
    folder = box.data_dir / "out" / "full"
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this test mounts a small file system, which needs root on Linux")
    try:
        with box.client() as client:
            task = client.service("kohya_job").submit(argv=training(box, steps=3, name="full"))
            view = task.wait(PATIENCE)
        assert view.state == "failed"
        assert "No space left on device" in view.reason or "disk is full" in view.reason
        assert not list(folder.rglob("*.safetensors*"))
    finally:
        subprocess.run(["umount", str(folder)], check=True)
