"""A submission: its own folder, absolute paths, nothing that a later edit could change."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from backend.errors import InvalidArgument, PathOutsideDataFolder
from kohya_adapter import Form, Snapshot, loads, snapshot

FORM = Form(
    {
        "pretrained_model_name_or_path": "models/tiny",
        "train_data_dir": "datasets/cats",
        "output_name": "cat",
        "sample_prompts": "a cat\na dog --d 1\n",
    }
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "datasets" / "cats").mkdir(parents=True)
    return tmp_path


def submitted(data_dir: Path, form: Form = FORM, task_id: str = "t1") -> Snapshot:
    return snapshot(form, task_id=task_id, data_dir=data_dir)


def config_of(done: Snapshot) -> dict[str, object]:
    return tomllib.loads(done.files["config.toml"])


def test_everything_of_a_job_is_in_its_own_folder(data_dir: Path) -> None:
    done = submitted(data_dir)
    job = data_dir / "jobs" / "t1"
    config = config_of(done)
    assert config["output_dir"] == str(job / "output") == str(done.output_dir)
    assert config["logging_dir"] == str(job / "logs")
    assert config["sample_prompts"] == str(job / "prompts.txt")
    assert config["train_data_dir"] == str(data_dir / "datasets" / "cats")
    assert done.argv[-2:] == ("--config_file", str(job / "config.toml"))
    assert done.output_file == job / "output" / "cat.safetensors"
    assert done.publish_dir == data_dir / "loras"


def test_writing_it_makes_the_files_and_the_folders_of_the_run(data_dir: Path) -> None:
    done = submitted(data_dir)
    assert not done.job_dir.exists()
    done.write()
    assert (done.job_dir / "prompts.txt").read_text() == "a cat\na dog --d 1\n"
    assert loads((done.job_dir / "form.json").read_text()).form == FORM
    assert done.output_dir.is_dir() and done.logging_dir.is_dir()


def test_a_second_job_of_the_same_id_changes_nothing(data_dir: Path) -> None:
    submitted(data_dir).write()
    with pytest.raises(FileExistsError):
        submitted(data_dir, FORM.replace({"sample_prompts": "other"})).write()
    assert "a cat" in (data_dir / "jobs" / "t1" / "prompts.txt").read_text()


def test_two_jobs_of_one_form_share_no_file_they_write(data_dir: Path) -> None:
    first, second = submitted(data_dir), submitted(data_dir, task_id="t2")
    assert config_of(first)["output_dir"] != config_of(second)["output_dir"]
    assert config_of(first)["output_name"] == config_of(second)["output_name"] == "cat"


def test_the_script_is_left_to_the_instance_unless_named(data_dir: Path) -> None:
    assert "train_network.py" in submitted(data_dir).argv
    assert "sdxl_train_network.py" in submitted(data_dir, FORM.replace({"sdxl": True})).argv
    named = snapshot(
        FORM, task_id="t", data_dir=data_dir, script="/sd/train_network.py", accelerate="/v/accelerate"
    )
    assert named.argv[0] == "/v/accelerate" and "/sd/train_network.py" in named.argv


def test_a_dataset_file_is_copied_with_absolute_paths(data_dir: Path) -> None:
    text = '[[datasets]]\nresolution = [64, 96]\n[[datasets.subsets]]\nimage_dir = "datasets/cats"\nnum_repeats = 3\n'
    (data_dir / "datasets" / "cats.toml").write_text(text)
    done = submitted(data_dir, FORM.replace({"dataset_config": "datasets/cats.toml"}))
    (data_dir / "datasets" / "cats.toml").write_text("edited later")
    assert config_of(done)["dataset_config"] == str(data_dir / "jobs" / "t1" / "dataset.toml")
    assert tomllib.loads(done.files["dataset.toml"]) == {
        "datasets": [
            {
                "resolution": [64, 96],
                "subsets": [{"image_dir": str(data_dir / "datasets/cats"), "num_repeats": 3}],
            }
        ]
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_data_dir", "/etc"),
        ("train_data_dir", "../elsewhere"),
        ("pretrained_model_name_or_path", "/etc/passwd"),
        ("reg_data_dir", "datasets/../../.."),
        ("network_weights", "~/a.safetensors"),
        ("resume", "link"),
        ("output_dir", "/tmp"),
        ("reg_data_dir", "~"),
        ("vae", "/etc"),
        ("additional_parameters", "--conditioning_data_dir /etc"),
        ("additional_parameters", "--resume=/etc"),
    ],
)
def test_a_path_outside_the_data_folder_is_refused_at_its_field(
    data_dir: Path, field: str, value: str
) -> None:
    (data_dir / "link").symlink_to("/etc")
    with pytest.raises(PathOutsideDataFolder) as refusal:
        submitted(data_dir, FORM.replace({field: value}))
    assert refusal.value.field == field
    assert not (data_dir / "jobs").exists()


def test_a_dataset_file_cannot_lead_outside_either(data_dir: Path) -> None:
    (data_dir / "d.toml").write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/etc"\n')
    with pytest.raises(PathOutsideDataFolder) as refusal:
        submitted(data_dir, FORM.replace({"dataset_config": "d.toml"}))
    assert refusal.value.field == "dataset_config"


def test_a_dataset_file_that_is_no_toml_is_refused(data_dir: Path) -> None:
    (data_dir / "d.toml").write_text("[[")
    with pytest.raises(InvalidArgument, match="is not a TOML file"):
        submitted(data_dir, FORM.replace({"dataset_config": "d.toml"}))
    with pytest.raises(InvalidArgument, match="cannot be read"):
        submitted(data_dir, FORM.replace({"dataset_config": "none.toml"}))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a\\b", "-rf", "x" * 151, "a\nb", "a."])
def test_an_output_name_is_a_plain_file_name(data_dir: Path, name: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        submitted(data_dir, FORM.replace({"output_name": name}))
    assert refusal.value.field == "output_name"


@pytest.mark.parametrize("task_id", ["", "..", "a/b", ".", "-x"])
def test_a_task_id_that_is_no_folder_name_is_refused(data_dir: Path, task_id: str) -> None:
    with pytest.raises(InvalidArgument):
        submitted(data_dir, task_id=task_id)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--config_file /etc/x", "cannot be added here"),
        ("--output_dir loras", "cannot be added here"),
        ("--dataset_class evil.Class", "cannot be added here"),
        ("--wandb_api_key x", "cannot be added here"),
        ("--no_such_thing 1", "is not an argument of this trainer"),
        ("--zero_terminal_snrr", "did you mean 'zero_terminal_snr'"),
        ("--zero_terminal_snr yes", "is a switch"),
        ("--validation_split", "wants one value"),
        ("--validation_split much", "wants a number"),
        ("--network_dim 4 8", "wants one value"),
        ("rm -rf", "belongs to no argument"),
        ('--caption_prefix "a', "cannot be read as arguments"),
    ],
)
def test_trainer_arguments_by_hand_are_checked(data_dir: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        submitted(data_dir, FORM.replace({"additional_parameters": text}))
    assert refusal.value.field == "additional_parameters"
    assert said in refusal.value.message


def test_trainer_arguments_by_hand_reach_the_command_line_with_their_quotes_understood(
    data_dir: Path,
) -> None:
    text = '--zero_terminal_snr --caption_prefix "photo of " --lr_decay_steps=0.2 --resume jobs/old-state'
    argv = submitted(data_dir, FORM.replace({"additional_parameters": text})).argv
    tail = argv[argv.index("--config_file") + 2 :]
    old = str(data_dir / "jobs" / "old-state")
    assert tail == (
        "--zero_terminal_snr",
        "--caption_prefix",
        "photo of ",
        "--lr_decay_steps",
        "0.2",
        "--resume",
        old,
    )


@pytest.mark.parametrize(
    "text", ["--module os", "-m os", "--no_python", "evil.py", "--cpu 1", "--machine_rank"]
)
def test_accelerate_cannot_be_made_to_run_something_else(data_dir: Path, text: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        submitted(data_dir, FORM.replace({"extra_accelerate_launch_args": text}))
    assert refusal.value.field == "extra_accelerate_launch_args"


def test_harmless_accelerate_arguments_are_passed_on(data_dir: Path) -> None:
    argv = submitted(data_dir, FORM.replace({"extra_accelerate_launch_args": "--cpu --machine_rank 0"})).argv
    assert argv[argv.index("--cpu") : argv.index("--mixed_precision")] == ("--cpu", "--machine_rank", "0")


def test_a_hub_id_stays_one_and_a_folder_of_that_name_wins(data_dir: Path) -> None:
    form = FORM.replace({"pretrained_model_name_or_path": "owner/name"})
    assert config_of(submitted(data_dir, form))["pretrained_model_name_or_path"] == "owner/name"
    (data_dir / "owner").mkdir()
    assert config_of(submitted(data_dir, form))["pretrained_model_name_or_path"] == str(
        data_dir / "owner/name"
    )


def test_secrets_are_in_no_file_of_a_job(data_dir: Path) -> None:
    done = submitted(data_dir, FORM.replace({"wandb_api_key": "w_x", "huggingface_token": "hf_x"}))
    assert done.secrets == {"WANDB_API_KEY": "w_x", "HF_TOKEN": "hf_x"}
    everything = json.dumps([done.files, done.argv, dict(done.environment)]) + repr(done)
    assert "w_x" not in everything and "hf_x" not in everything


def test_a_lycoris_preset_file_is_confined_too(data_dir: Path) -> None:
    form = FORM.replace({"LoRA_type": "LyCORIS/LoKr", "LyCORIS_preset": "/etc/preset.toml"})
    with pytest.raises(PathOutsideDataFolder) as refusal:
        submitted(data_dir, form)
    assert refusal.value.field == "LyCORIS_preset"
    submitted(data_dir, form.replace({"LyCORIS_preset": "attn-mlp"}))


def test_somebody_elses_paths_in_fields_that_do_not_matter_are_left_alone(data_dir: Path) -> None:
    other = {
        "logging_dir": "/home/her/logs",
        "ae": "E:\\models\\ae.safetensors",
        "LyCORIS_preset": "/home/her/p.toml",
    }
    done = submitted(data_dir, FORM.replace(other))
    assert "her" not in done.files["config.toml"] and "ae" not in config_of(done)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "evil.Optimizer"),
        ("lr_scheduler_type", "evil.Schedule"),
        ("LoRA_type", "evil.network"),
        ("pretrained_model_name_or_path", "models/x.ckpt"),
        ("network_weights", "loras/x.pt"),
        ("additional_parameters", "--network_module evil"),
        ("additional_parameters", "--optimizer_type evil.Optimizer"),
        ("additional_parameters", "--lr_scheduler_type evil.Schedule"),
        ("additional_parameters", "--network_args preset=/etc/x.toml"),
        ("additional_parameters", "--base_weights loras/x.pt"),
    ],
)
def test_nothing_that_would_run_code_is_ever_submitted(data_dir: Path, field: str, value: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        submitted(data_dir, FORM.replace({field: value}))
    assert refusal.value.field == field
