"""Where a training's command line says its LoRA will be, and where it is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.worker import result_file
from backend.worker.result_file import promised

FOLDER = Path("/data/jobs/t1")


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ("", None),
        ("--output_name x", None),
        ("--output_dir /out", "/out/last.safetensors"),
        ("--output_dir /out --output_name x", "/out/x.safetensors"),
        ("--output_dir=/out --output_name=x --save_model_as=ckpt", "/out/x.ckpt"),
        ("--output_dir out --output_name x", "/data/jobs/t1/out/x.safetensors"),
        ("--output_dir", None),
    ],
)
def test_what_the_command_line_promises(arguments: str, path: str | None) -> None:
    found = promised(("train_network.py", *arguments.split()), FOLDER)
    assert found == (None if path is None else Path(path))


def test_a_configuration_promises_where_the_command_line_does_not(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[saving]\noutput_dir = "/out"\noutput_name = "there"\n')
    argv = ("train_network.py", "--config_file", "config.toml")
    assert promised(argv, tmp_path) == Path("/out/there.safetensors")
    assert promised((*argv, "--output_name", "here"), tmp_path) == Path("/out/here.safetensors")


def test_a_configuration_that_cannot_be_read_promises_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff = [")
    argv = ("train_network.py", "--config_file", str(tmp_path / "config.toml"))
    assert promised(argv, tmp_path) is None
    assert promised(("train_network.py", "--config_file", "/nowhere.toml"), tmp_path) is None


def test_two_tasks_never_publish_into_one_file(tmp_path: Path) -> None:
    output, loras = tmp_path / "x.safetensors", tmp_path / "loras"
    output.write_bytes(b"one")
    ids = [
        "7f3c1a52-0000-4000-8000-000000000001",
        "training-1",
        "training-2",
        "training-10",
    ]
    found = {result_file.published(output, loras, task) for task in ids}
    assert len(found) == len(ids)
    assert {path.read_bytes() for path in found} == {b"one"}
    assert loras / "x-7f3c1a52.safetensors" in found


def test_publishing_again_replaces(tmp_path: Path) -> None:
    output, loras = tmp_path / "x.safetensors", tmp_path / "loras"
    output.write_bytes(b"one")
    result_file.published(output, loras, "t")
    output.unlink()
    output.write_bytes(b"two")
    assert result_file.published(output, loras, "t").read_bytes() == b"two"
