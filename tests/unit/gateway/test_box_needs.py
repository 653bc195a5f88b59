"""What a task needs of the data folder, and where it writes: read from the task."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.gateway.box_needs import Scope, is_open, scope_of
from backend.service import Description, parse
from backend.task import Task, TaskState

SERVICE: Description = parse({"metadata": {"name": "any", "type": "ScalableJob"}}).description


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in (
        *(
            "datasets/cats/10_cat/1.png",
            "datasets/mine/1.png",
            "models/base.safetensors",
            "loras/moon.safetensors",
        ),
        *("jobs/t/config.toml", "jobs/t/prompts.txt", "jobs/t/log.txt", "jobs/t/output/old.safetensors"),
        *("jobs/other/output/theirs.safetensors", "store/dump", "token"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def scope(data: Path, *argv: str, command: str = "") -> Scope:
    given = {"argv": tuple(word.replace("@", str(data)) for word in argv)} if argv else {}
    task = Task(
        "t",
        "any",
        1,
        "command",
        TaskState.RUNNING,
        0.0,
        data=command.replace("@", str(data)).encode(),
        **given,
    )  # type: ignore[arg-type]
    return scope_of(task, SERVICE, data)


SNAPSHOT = ("jobs/t/config.toml", "jobs/t/log.txt", "jobs/t/prompts.txt")


def test_a_training_needs_what_its_configuration_names(data: Path) -> None:
    (data / "jobs/t/config.toml").write_text(
        f'output_dir = "{data}/jobs/t/output"\nlogging_dir = "{data}/jobs/t/logs"\n'
        f'[model]\npretrained_model_name_or_path = "{data}/models/base.safetensors"\n'
        f'train_data_dir = "{data}/datasets/cats"\nnetwork_weights = "loras/moon.safetensors"\n'
        'vae = "somebody/a-model-of-the-hub"\n'
    )
    found = scope(data, "accelerate", "launch", "train_network.py", "--config_file", "@/jobs/t/config.toml")
    assert sorted(found.needs.files) == sorted(
        ("models/base.safetensors", "datasets/cats", "loras/moon.safetensors", *SNAPSHOT)
    )
    assert found.may_read("datasets/cats/10_cat/1.png") and not found.may_read("datasets/mine/1.png")
    assert found.may_write("jobs/t/output/new.safetensors", exists=True)
    assert not found.may_write("datasets/cats/10_cat/1.png", exists=True)
    assert not found.may_write("jobs/tt/x", exists=False)


def test_where_a_training_writes_is_its_own_to_go_on_from(data: Path) -> None:
    found = scope(
        data,
        *("python", "train_network.py", "--output_dir", "@/out/x", "--train_data_dir", "@/datasets/mine"),
    )
    assert found.needs.files[0] == "datasets/mine"
    assert found.may_write("out/x/a-state/model.safetensors", exists=False) and not found.may_write(
        "out/y", exists=False
    )


def test_a_shell_line_needs_the_paths_in_it_but_nothing_of_the_deployment(data: Path) -> None:
    found = scope(
        data,
        command="cat @/datasets/mine/1.png @/token @/store/dump @/jobs @ /etc/passwd | wc; ls datasets/cats",
    )
    assert found.needs.files == ("datasets/mine/1.png", *SNAPSHOT, "jobs/t/output/old.safetensors")
    assert not found.may_read("token") and not found.may_read("jobs/other/output/theirs.safetensors")


def test_a_tool_needs_its_loras_and_makes_new_ones(data: Path) -> None:
    found = scope(data, "python", "-m", "backend.tools", "merge", "moon=0.5", "--output", "two")
    assert found.needs.files[0] == "loras/moon.safetensors"
    assert found.may_write("loras/two.safetensors", exists=False)
    assert not found.may_write("loras/moon.safetensors", exists=True)
    found = scope(data, "python", "-m", "backend.tools", "grid", "--task", "other", "--prompt", "a cat")
    assert found.may_read("jobs/other/output/theirs.safetensors")
    assert found.may_write("jobs/other/grid.png", exists=True)
    assert not found.may_write("jobs/other/output/theirs.safetensors", exists=True)


@pytest.mark.parametrize(
    ("path", "open_"),
    [
        *(("datasets/x", True), ("jobs/x/y", True), ("out/x", True)),
        *(("", False), (".", False), ("token", False), ("store/x", False), ("logs/x", False)),
        *((".probe-1", False), ("mounts/.state/x", False), ("datasets/../token", False)),
    ],
)
def test_what_is_the_deployment_s_own(path: str, open_: bool) -> None:
    assert is_open(path) is open_
