"""What the payload of a command task stands for, and what its program is given."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from backend.records import FileWritten
from backend.task import Task, TaskState
from backend.worker import command
from backend.worker.command import TRAINER, Plan, plan, training_arguments, words


def task(data: str = "", argv: list[str] | None = None, **fields: object) -> Task:
    return Task(
        id="t1",
        service="svc",
        index=1,
        kind="command",
        state=TaskState.RUNNING,
        created_at=0.0,
        data=data.encode(),
        argv=tuple(argv) if argv is not None else None,
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like an sd-scripts checkout."""
    for name in ("train_network.py", "sdxl_train_network.py"):
        (tmp_path / name).touch()
    return tmp_path


class TestCommands:
    """Anything that is no training."""

    @pytest.mark.parametrize(
        "text",
        ["echo hi", "exit 3", "cd x && ls", "echo 'a b' # said", "A=1 env", "for i in 1 2; do :; done", ""],
    )
    def test_a_payload_is_a_shell_command_as_it_was_written(self, text: str) -> None:
        assert plan(task(text)) == Plan(("/bin/sh", "-c", text))

    def test_an_argument_list_never_meets_a_shell(self) -> None:
        words = ["echo", "a; rm -rf /", "$HOME"]
        assert plan(task(argv=words)) == Plan(tuple(words))

    @pytest.mark.parametrize(
        "text",
        [
            "python my_tool.py --script train_network.py",
            "python -c pass train_network.py",
            "python -m my.module train_network.py",
            "cat train_network.py",
            "echo accelerate launch train_network.py",
            "python train_network.py.bak",
            "python -",
        ],
    )
    def test_only_the_script_that_is_run_makes_it_a_training(self, text: str) -> None:
        assert plan(task(text)) == Plan(("/bin/sh", "-c", text))
        assert training_arguments(words(text.encode()) or []) is None


class TestBuiltIn:
    """Trainings without a checkout."""

    @pytest.mark.parametrize(
        "text",
        [
            "accelerate launch train_network.py --a 1",
            "accelerate launch --num_processes 1 --mixed_precision=no ./sd-scripts/train_network.py --a 1",
            "/opt/venv/bin/accelerate launch /kohya/train_network.py --a 1",
            "python train_network.py --a 1",
            "python3.11 -u /kohya/train_network.py --a 1",
            "python -m accelerate.commands.launch train_network.py --a 1",
            "train_network.py --a 1",
        ],
    )
    def test_every_way_to_start_it_is_known(self, text: str) -> None:
        found = plan(task(text))
        assert (found.entry, found.training, found.kohya_console) == (TRAINER, True, False)
        assert found.argv[0] == "train_network.py"
        assert found.argv[-2:] == ("--a", "1")
        assert found.saves_on_request
        assert training_arguments(words(text.encode()) or []) == ["--a", "1"]

    def test_the_launcher_s_precision_goes_before_the_training_s_own(self) -> None:
        words = [
            "accelerate",
            "launch",
            "--mixed_precision",
            "bf16",
            "train_network.py",
            "--mixed_precision",
            "no",
        ]
        assert plan(task(argv=words)).argv == (
            *("train_network.py", "--mixed_precision", "bf16"),
            *("--mixed_precision", "no"),
        )

    def test_quoted_words_are_taken_apart_as_a_shell_would(self) -> None:
        found = plan(task("python train_network.py --output_name 'my lora' --x \"a b\""))
        assert found.argv[1:] == ("--output_name", "my lora", "--x", "a b")

    def test_a_training_within_shell_syntax_is_the_shell_s(self) -> None:
        text = "cd /x && python train_network.py"
        assert plan(task(text)) == Plan(("/bin/sh", "-c", text))

    def test_other_scripts_of_kohya_are_run_as_they_are(self) -> None:
        words = ["accelerate", "launch", "sd3_train_network.py"]
        assert plan(task(argv=words)) == Plan(tuple(words))
        assert training_arguments(words) is None
        assert training_arguments(["accelerate", "launch", "flux_train_network.py", "--x"]) == ["--x"]

    def test_it_goes_on_from_a_saved_state(self) -> None:
        found = plan(task("python train_network.py"))
        resumed = found.resumed(FileWritten("state", "/job/state", step=40))
        assert resumed.argv == ("train_network.py", "--resume", "/job/state")
        assert found.resumed(None) is found


class TestCheckout:
    """Trainings with a checkout of sd-scripts."""

    def test_it_runs_the_script_of_the_checkout(self, checkout: Path) -> None:
        text = "accelerate launch --num_processes 1 /elsewhere/sdxl_train_network.py --a 1"
        found = plan(task(text), sd_scripts=str(checkout))
        assert found.argv == (
            *(sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"),
            *(str(checkout / "sdxl_train_network.py"), "--a", "1", "--console_log_simple"),
        )
        assert (found.entry, found.training, found.kohya_console) == (None, True, True)
        assert not found.saves_on_request

    @pytest.mark.parametrize(
        "start", ["accelerate launch -n 1", "python -m accelerate.commands.launch -n 1", "python"]
    )
    def test_the_launcher_s_own_arguments_are_kept(self, checkout: Path, start: str) -> None:
        found = plan(task(f"{start} train_network.py"), sd_scripts=str(checkout))
        own = ("-n", "1") if "-n" in start else ()
        script = str(checkout / "train_network.py")
        assert found.argv[1:-1] == ("-m", "accelerate.commands.launch", *own, script)

    def test_it_runs_with_the_python_of_the_checkout(self, checkout: Path) -> None:
        (checkout / "venv" / "bin").mkdir(parents=True)
        python = checkout / "venv" / "bin" / "python"
        python.touch()
        assert plan(task("python train_network.py"), sd_scripts=str(checkout)).argv[0] == str(python)

    def test_a_script_that_it_does_not_have_is_somebody_s_own(self, checkout: Path) -> None:
        text = "python /home/me/train.py --epochs 3"
        assert plan(task(text), sd_scripts=str(checkout)) == Plan(("/bin/sh", "-c", text))

    def test_a_resumed_training_is_told_its_true_step(self, checkout: Path) -> None:
        found = plan(task("python train_network.py"), sd_scripts=str(checkout))
        resumed = found.resumed(FileWritten("state", "/job/state", step=40))
        assert resumed.argv[-5:] == (
            *("--resume", "/job/state", "--skip_until_initial_step"),
            *("--initial_step", "40"),
        )


class TestEnvironment:
    """The variables of a run."""

    def given(self, base: dict[str, str], **own: str) -> dict[str, str]:
        return command.environment(
            task(environment=own), base, data_dir=Path("/d"), job_dir=Path("/d/jobs/t1")
        )

    def test_no_secret_of_the_deployment_is_handed_on(self) -> None:
        found = self.given(
            {"LORAPOOL_TOKEN": "t", "REDIS_URL": "unix://:p@x", "LORAPOOL_ENDPOINT": "http://x", "LANG": "C"}
        )
        assert not {"LORAPOOL_TOKEN", "REDIS_URL", "LORAPOOL_ENDPOINT"} & found.keys()
        assert found["LANG"] == "C"

    def test_a_task_s_own_variables_count_most(self) -> None:
        found = self.given({"LANG": "C", "CUDA_VISIBLE_DEVICES": "1"}, LANG="de", TERM="xterm")
        assert (found["LANG"], found["TERM"], found["CUDA_VISIBLE_DEVICES"]) == ("de", "xterm", "1")

    def test_a_program_knows_its_task_and_folder(self) -> None:
        found = self.given({})
        assert found["LORAPOOL_TASK_ID"] == "t1"
        assert found["LORAPOOL_JOB_DIR"] == "/d/jobs/t1"
        assert found["LORAPOOL_DATA_DIR"] == "/d"

    def test_python_is_the_one_of_lorapool(self) -> None:
        first = self.given({"PATH": "/usr/bin"})["PATH"].split(os.pathsep)
        assert first == [str(Path(sys.executable).parent), "/usr/bin"]
