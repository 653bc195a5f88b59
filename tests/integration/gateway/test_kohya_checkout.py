"""A checkout of kohya_ss (a pretended one, with the same calls) whose trainings go to a real gateway."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend import samples
from backend.client import Client
from backend.errors import InvalidInput
from backend.task import TaskState
from kohya_adapter.checkout import pool_process
from kohya_adapter.checkout.command import PROGRAM, PoolOf, start
from tests.support.gateway_box import TOKEN, Box, eventually
from tests.support.pretend import PretendInstance

CHECKOUT = Path(__file__).parents[2] / "support" / "pretend_kohya_ss"


class Form:
    """kohya_ss's process: buttons in, its console out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.said: list[str] = []

    def press(self, *words: str) -> None:
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)

    def until(self, text: str) -> str:
        """Read its console until a line holds this."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line.rstrip("\n"))
            if text in line:
                return self.said[-1]
        raise AssertionError(f"{text!r} was not said: {self.said}")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30.0)


@contextmanager
def form(pool: PoolOf) -> Iterator[Form]:
    words, variables = start(CHECKOUT, pool, ["--headless"])
    process = subprocess.Popen(
        words,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = threading.Timer(30.0, process.kill)  # then its console ends, and shows what it said
    deadline.start()
    try:
        yield Form(process)
    finally:
        deadline.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="module")
def client(box: Box) -> Iterator[Client]:
    box.create("kohya", "ScalableJob")
    with box.client() as client:
        yield client


@pytest.fixture(scope="module")
def instance(box: Box, client: Client) -> Iterator[PretendInstance]:
    store = box.store()
    yield PretendInstance(store, "kohya")
    store.close()


@pytest.fixture
def config(box: Box, tmp_path: Path) -> Path:
    """What kohya_ss writes beside the output before it starts: the pool's folder is called /mnt/lora here."""
    model, dataset = samples.install(box.data_dir)
    (tmp_path / "prompt.txt").write_text("a red circle --s 4\n")
    values = {
        "output_name": "cat",
        "output_dir": "/mnt/lora/loras",
        "pretrained_model_name_or_path": f"/mnt/lora/{model.relative_to(box.data_dir)}",
        "train_data_dir": f"/mnt/lora/{dataset.relative_to(box.data_dir)}",
        "network_module": "networks.lora",
        "resolution": "64,64",
        "optimizer_type": "AdamW",
        "sample_prompts": str(tmp_path / "prompt.txt"),
    }
    path = tmp_path / "config_lora-1.toml"
    path.write_text(
        "".join(f'{key} = "{value}"\n' for key, value in values.items()) + "max_train_steps = 2\n"
    )
    return path


def pool_of(box: Box) -> PoolOf:
    return PoolOf(box.url, TOKEN, "kohya", "ana", 3, (f"/mnt/lora={box.data_dir}",))


def test_start_training_queues_and_the_console_is_the_task_s_log(
    box: Box, client: Client, instance: PretendInstance, config: Path
) -> None:
    with form(pool_of(box)) as kohya:
        assert str(CHECKOUT) in kohya.until("form is up --headless")
        # what is no training stays where it was
        kohya.press("utility")
        kohya.until("captioned")
        kohya.press("start", str(config))
        task = kohya.until("is in the queue of kohya").split()[2]
        kohya.until("waiting, position")
        # the task is a snapshot: what the form writes afterwards does not reach it
        view = client.task(task).view()
        assert (view.name, view.user, view.priority) == ("cat", "ana", 3)
        folder = box.data_dir / "jobs" / task
        text = (folder / "config.toml").read_text()
        assert f'"{box.data_dir}/models/tiny-shapes"' in text and f'"{folder}/prompts.txt"' in text
        assert (folder / "prompts.txt").read_text() == "a red circle --s 4\n"
        assert view.argv is not None
        assert view.argv[-3:] == ["train_network.py", "--config_file", f"{folder}/config.toml"]
        # when the pool works on it, the console shows its lines, and ends as it does
        holder = instance.take(task)
        instance.say(holder, "epoch 1/1", "steps: 2/2 ü")
        kohya.press("wait")
        kohya.until("steps: 2/2 ü")
        instance.finish(holder)
        assert kohya.until("ended:") == "ended: 0"
        assert kohya.said.index("epoch 1/1") < kohya.said.index("steps: 2/2 ü")


def test_stop_training_cancels_the_task(box: Box, client: Client, config: Path) -> None:
    with form(pool_of(box)) as kohya:
        kohya.press("start", str(config))
        task = kohya.until("is in the queue of kohya").split()[2]
        kohya.press("stop")
        eventually(lambda: client.task(task).state == "cancelled")
        kohya.press("wait")
        kohya.until("ended: stopped")


def test_closing_the_form_leaves_the_training_to_the_pool(box: Box, client: Client, config: Path) -> None:
    with form(pool_of(box)) as kohya:
        kohya.press("start", str(config))
        task = kohya.until("is in the queue of kohya").split()[2]
        kohya.close()
    assert client.task(task).state == "waiting"
    client.task(task).cancel()


def test_a_failure_is_the_training_s_own(
    box: Box, client: Client, instance: PretendInstance, config: Path
) -> None:
    with form(pool_of(box)) as kohya:
        kohya.press("start", str(config))
        task = kohya.until("is in the queue of kohya").split()[2]
        holder = instance.take(task)
        instance.finish(holder, TaskState.FAILED, "CUDA out of memory")
        kohya.press("wait")
        assert kohya.until("ended:") == "ended: 1"
        assert any("failed, CUDA out of memory" in line for line in kohya.said)


def test_what_the_pool_refuses_is_said_in_its_words(box: Box, client: Client, config: Path) -> None:
    before = len(client.tasks())
    config.write_text(config.read_text().replace('"networks.lora"', '"lycoris.kohya"'))
    with form(pool_of(box)) as kohya:
        kohya.press("start", str(config))
        assert "network_module" in kohya.until("nothing was queued")
        kohya.press("wait")
        assert kohya.until("ended:") == "ended: 2"
    assert len(client.tasks()) == before


def test_what_cannot_be_started_is_said_before(tmp_path: Path) -> None:
    for checkout, pool, word in (
        (tmp_path, PoolOf("http://x", "t", "s"), "no kohya_gui.py"),
        (CHECKOUT, PoolOf("http://x", "", "s"), "no token"),
        (CHECKOUT, PoolOf("http://x", "t", "s", maps=("Z:",)), "HERE=THERE"),
    ):
        with pytest.raises(InvalidInput, match=word):
            start(checkout, pool, [])
    words, variables = start(CHECKOUT, PoolOf("http://x", "the-token", "s"), ["--listen", "0.0.0.0"])
    assert "the-token" not in " ".join(words) and variables["LORAPOOL_TOKEN"] == "the-token"


def test_the_checkout_s_own_python_is_used(tmp_path: Path) -> None:
    (tmp_path / "kohya_gui.py").touch()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").touch()
    words, _ = start(tmp_path, PoolOf("http://x", "t", "s"), [])
    assert words[0] == str(tmp_path / "venv" / "bin" / "python")
    assert start(CHECKOUT, PoolOf("http://x", "t", "s"), [])[0][0] == sys.executable


def test_its_program_needs_nothing_but_the_standard_library_of_kohya_s_python() -> None:
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 10))
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("command", "training"),
    [
        (["/v/bin/accelerate", "launch", "--num_processes", "1", "/k/sd-scripts/train_network.py"], True),
        (
            ["C:\\v\\Scripts\\accelerate.EXE", "launch", "C:\\k\\sd-scripts\\sdxl_train_network.py", "--x"],
            True,
        ),
        ('accelerate launch "./train_db.py" --config_file a.toml', True),
        (["accelerate", "launch", "tag_images.py"], False),
        (["accelerate", "config"], False),
        (["/v/bin/python", "sd-scripts/networks/resize_lora.py"], False),
        (["tensorboard", "--logdir", "x"], False),
        ("echo 'unfinished", False),
    ],
)
def test_which_commands_are_trainings(command: object, training: bool) -> None:
    assert pool_process.is_training(command) is training


def test_paths_are_the_pool_s_from_windows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAPOOL_MAP", "Z:\\lora=/srv/lora\n/mnt=/data")
    assert pool_process.mapped("Z:\\lora\\models\\a.safetensors") == "/srv/lora/models/a.safetensors"
    assert pool_process.mapped("Z:/lora") == "/srv/lora"
    assert pool_process.mapped("/mnt/x") == "/data/x"
    assert pool_process.mapped("/mnt2/x") == "/mnt2/x"
    assert (
        pool_process._mapped_toml('a = "Z:\\\\lora\\\\x"  # "kept"\nb = 3\n')
        == 'a = "/srv/lora/x"  # "kept"\nb = 3\n'
    )
