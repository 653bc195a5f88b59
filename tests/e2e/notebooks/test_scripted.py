"""What a page can do, from the command line, on the deployment that the notebooks use."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.cli import app
from kohya_adapter.presets import preset
from tests.support.box import ROOT, Box

Run = Callable[..., str]


@pytest.fixture
def lorapool(box: Box) -> Iterator[Run]:
    """Run a command against the deployment; what it printed."""

    def run(*words: str | Path, code: int = 0) -> str:
        variables = {
            "LORAPOOL_ENDPOINT": box.endpoint,
            "LORAPOOL_TOKEN": box.token,
            "LORAPOOL_DATA_DIR": str(box.data_dir),
        }
        done = CliRunner().invoke(app, [str(word) for word in words], env=variables)
        assert done.exit_code == code, done.output
        return done.output

    yield run


def test_a_job_from_the_command_line(box: Box, lorapool: Run, tmp_path: Path) -> None:
    # Given a training that has ended
    form = tmp_path / "form.json"
    form.write_text(
        json.dumps({**preset("tiny-shapes").form, "max_train_steps": 4, "output_name": "scripted"})
    )
    task = lorapool("submit", "--follow", "--form", form).splitlines()[0]
    # Then all that its page shows can be printed
    assert json.loads(lorapool("show", task))["state"] == "succeeded"
    lines = lorapool("curve", task).splitlines()
    assert lines[0].startswith("step\tepoch\tloss") and [line.split("\t")[0] for line in lines[1:]] == list(
        "1234"
    )
    assert "scripted.safetensors" in lorapool("files", task)
    lorapool("download", task, "--to", tmp_path)
    assert (tmp_path / "scripted.safetensors").stat().st_size > 10_000
    # And it can be tried again, moved in the queue, and stopped
    with box.client() as client:
        before = client.service("kohya_job").submit(command="sleep 60", name="before")
    again = lorapool("retry", task).strip()
    assert "priority 5" in lorapool("priority", again, "5")
    assert "is" in lorapool("cancel", again)
    lorapool("cancel", before.id)
    with box.client() as client:
        assert client.task(again).wait(60).state in ("cancelled", "succeeded")


def test_a_form_from_the_command_line(box: Box, lorapool: Run, tmp_path: Path) -> None:
    # Given a preset, written to a file
    form = tmp_path / "form.json"
    form.write_text(lorapool("form", "presets", "tiny-shapes"))
    # Then it can be checked and seen as a command line
    assert "30 pictures, 8 epochs, 300 steps" in lorapool("form", "check", form)
    assert lorapool("form", "command", form).startswith("accelerate launch")
    # And what is wrong with it is said at its field
    form.write_text(json.dumps({**json.loads(form.read_text()), "train_data_dir": "datasets/nowhere"}))
    assert "error: train_data_dir: there is no datasets/nowhere" in lorapool("form", "check", form, code=2)
    # And the settings come out as they went in
    assert json.loads(lorapool("form", "import", form))["train_data_dir"] == "datasets/nowhere"


def test_the_commands_of_the_readme(box: Box, lorapool: Run, tmp_path: Path) -> None:
    # Given its block of commands, with a form, a program and a task that there are
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.findall(r"```sh\n(.*?)```", text.partition("## Using it")[2], re.DOTALL)[0]
    lines = [words for line in block.splitlines() if (words := shlex.split(line, comments=True))]
    form = tmp_path / "my.json"
    form.write_text(json.dumps({**preset("tiny-shapes").form, "max_train_steps": 4}))
    with box.client() as client:
        task = client.service("kohya_job").submit(command="echo here", name="readme").id
    there = {"my.json": str(form), "nvidia-smi": "echo a GPU", "TASK": task}
    # Then each of them does what it says
    for line in lines:
        program, *words = [there.get(word, word) for word in line]
        assert program.endswith("lorapool")
        # A pool is up already; what it draws with is trained in the notebooks' test.
        if words[0] not in ("up", "generate", "grid"):
            assert lorapool(*words), line


def test_pictures_are_put_into_a_data_set(box: Box, lorapool: Run) -> None:
    source = next((box.data_dir / "datasets" / "moonlight").rglob("*.png"))
    said = lorapool("dataset", "add", source, source.with_suffix(".txt"), "--to", "datasets/added/1_sks")
    assert "1 pictures" in said
    assert len(list((box.data_dir / "datasets" / "added" / "1_sks").iterdir())) == 2
    assert "models/tiny-shapes" in lorapool("dataset", "sample")
    assert "tiny-shapes" in lorapool("models")
