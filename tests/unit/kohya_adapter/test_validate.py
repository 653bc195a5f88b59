"""Before anything is queued: every problem at its field, and what the run will be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from backend import samples
from kohya_adapter import Form
from kohya_adapter.instances import instance_problems, suited
from kohya_adapter.presets import Preset, preset, presets
from kohya_adapter.problems import Capabilities, Problem
from kohya_adapter.validate import validate

SAMPLE = preset("tiny-shapes").form
NO_GPU = Capabilities()
SD_SCRIPTS = Capabilities(frozenset({"bitsandbytes", "xformers", "lycoris"}), gpu=True, sd_scripts=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    samples.install(folder)
    return folder


@pytest.fixture
def data_dir(installed: Path, tmp_path: Path) -> Path:
    shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
    return tmp_path


def at(problems: tuple[Problem, ...], field: str) -> str:
    return " ".join(problem.message for problem in problems if problem.field == field)


def test_the_sample_is_ready_and_its_run_is_known(installed: Path) -> None:
    done = validate(SAMPLE, installed, NO_GPU)
    assert done.problems == () and done.ok
    assert done.estimate is not None
    pictures = list((installed / "datasets" / "moonlight").rglob("*.png"))
    assert done.estimate.pictures == done.estimate.captioned == len(pictures)
    assert done.estimate.total_steps == 300
    assert done.estimate.buckets[0].width == 64


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"train_data_dir": "datasets/none"}, "train_data_dir", "there is no datasets/none"),
        ({"train_data_dir": ""}, "train_data_dir", "name the folder"),
        ({"train_data_dir": "/etc"}, "train_data_dir", "outside the data folder"),
        ({"train_data_dir": "datasets"}, "train_data_dir", "no folder named <repeats>_<name>"),
        (
            {"pretrained_model_name_or_path": "models/none"},
            "pretrained_model_name_or_path",
            "there is no models/none",
        ),
        (
            {"pretrained_model_name_or_path": "a/b"},
            "pretrained_model_name_or_path",
            "put the model under models/",
        ),
        ({"pretrained_model_name_or_path": "models/x.ckpt"}, "pretrained_model_name_or_path", "can run code"),
        ({"network_dim": 0}, "network_dim", "1 or more"),
        (
            {"learning_rate": 0, "unet_lr": 0, "text_encoder_lr": 0},
            "learning_rate",
            "nothing would be learned",
        ),
        ({"optimizer": "os.system"}, "optimizer", "not on the list"),
        ({"optimizer": "AdamW8bit"}, "optimizer", "choose AdamW"),
        ({"optimizer_args": "a = b"}, "optimizer_args", "name=value"),
        ({"optimizer_args": "wrong=1"}, "optimizer_args", "takes no 'wrong'"),
        ({"lr_scheduler_type": "os.system"}, "lr_scheduler_type", "choose one of"),
        ({"lr_scheduler": "sawtooth"}, "lr_scheduler", "choose one of"),
        ({"LoRA_type": "LyCORIS/LoKr"}, "LoRA_type", "lycoris.kohya"),
        ({"LoRA_type": "evil.module"}, "LoRA_type", "choose one of"),
        ({"LoRA_type": "Flux1"}, "LoRA_type", "cannot be trained for this kind of model"),
        ({"sdxl": True, "flux1_checkbox": True}, "flux1_checkbox", "only one kind"),
        ({"sd3_checkbox": True}, "sd3_checkbox", "set SD_SCRIPTS_DIR"),
        ({"mixed_precision": "fp16"}, "mixed_precision", "choose no"),
        ({"save_model_as": "ckpt"}, "save_model_as", "choose safetensors"),
        ({"color_aug": True}, "color_aug", "cached latents"),
        ({"random_crop": True}, "random_crop", "cached latents"),
        ({"full_bf16": True}, "full_bf16", "needs mixed precision bf16"),
        ({"adaptive_noise_scale": 0.1}, "adaptive_noise_scale", "needs a noise offset"),
        ({"min_timestep": 500, "max_timestep": 400}, "min_timestep", "below the largest"),
        ({"noise_offset": 1.5}, "noise_offset", "0 to 1"),
        ({"max_resolution": "big"}, "max_resolution", "give pixels"),
        ({"max_train_steps": 0, "epoch": 0}, "epoch", "nothing would be trained"),
        ({"output_name": "a/b"}, "output_name", "not a path"),
        ({"additional_parameters": "--frobnicate"}, "additional_parameters", "is not an argument"),
        (
            {"additional_parameters": "--full_fp16"},
            "additional_parameters",
            "not supported by the built-in trainer",
        ),
        ({"extra_accelerate_launch_args": "--no_python"}, "extra_accelerate_launch_args", "cannot be added"),
        ({"network_weights": "loras/none.safetensors"}, "network_weights", "there is no"),
        ({"resume": "models"}, "resume", "no saved training state"),
        ({"resume": "jobs/gone/output/cat-state"}, "resume", "its job was deleted with its files"),
        ({"dim_from_weights": True}, "dim_from_weights", "LoRA file"),
        ({"persistent_data_loader_workers": True}, "persistent_data_loader_workers", "no loader processes"),
        ({"sample_prompts": "a cat --q 3"}, "sample_prompts", "--q is not known"),
        ({"train_batch_size": 0}, "train_batch_size", "1 or more"),
        ({"masked_loss": True}, "masked_loss", "needs masks"),
    ],
)
def test_what_cannot_be_trained_is_an_error_at_its_field(
    installed: Path, values: dict[str, object], field: str, said: str
) -> None:
    done = validate(SAMPLE.replace(values), installed, NO_GPU)
    assert not done.ok
    assert said in at(done.errors, field)


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"sample_prompts": "# none"}, "sample_prompts", "no prompt"),
        ({"sample_every_n_steps": 0, "additional_parameters": ""}, "sample_every_n_steps", "never painted"),
        ({"save_every_n_steps": 301}, "save_every_n_steps", "the training has 300 steps"),
        ({"lr_warmup_steps": 300}, "lr_warmup_steps", "not over when the training is"),
        ({"epoch": 7}, "epoch", "no effect"),
        ({"unet_lr": 0.5}, "learning_rate", "NaN"),
        ({"xformers": "xformers"}, "xformers", "PyTorch's own attention"),
        ({"save_last_n_epochs": 2}, "save_last_n_epochs", "no copies"),
    ],
)
def test_what_is_odd_is_a_warning_and_can_still_be_trained(
    installed: Path, values: dict[str, object], field: str, said: str
) -> None:
    done = validate(SAMPLE.replace(values), installed, NO_GPU)
    assert done.ok and done.estimate is not None
    assert said in at(done.problems, field)


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"enable_bucket": True}, "min_bucket_reso", "above the resolution"),
        (
            {"enable_bucket": True, "min_bucket_reso": 64, "bucket_reso_steps": 32},
            "bucket_reso_steps",
            "multiple of 64",
        ),
        ({"lr_scheduler": "constant"}, "lr_warmup", "refuses a warm-up"),
        ({"lr_scheduler": "adafactor"}, "lr_scheduler", "only with the Adafactor"),
        ({"cache_latents": False, "max_resolution": "32,32"}, "enable_bucket", "turn buckets on"),
        ({"optimizer": "Prodigy"}, "optimizer", "needs prodigyopt"),
        (
            {"sdxl": True, "sdxl_cache_text_encoder_outputs": True, "shuffle_caption": True},
            "shuffle_caption",
            "cached text encoder outputs",
        ),
        (
            {"sdxl": True, "sdxl_cache_text_encoder_outputs": True},
            "text_encoder_lr",
            "cannot be trained while",
        ),
        ({"flux1_checkbox": True, "LoRA_type": "Flux1"}, "ae", "cannot be trained without"),
    ],
)
def test_what_sd_scripts_would_refuse_is_refused_before_it_starts(
    installed: Path, values: dict[str, object], field: str, said: str
) -> None:
    done = validate(SAMPLE.replace(values), installed, SD_SCRIPTS)
    assert said in at(done.errors, field)


def test_settings_that_nobody_knows_are_named(installed: Path) -> None:
    done = validate(SAMPLE.replace({"train_inpainting": True}), installed, SD_SCRIPTS)
    assert "does not know" in at(done.problems, "train_inpainting")


def test_a_real_checkout_takes_what_the_built_in_trainer_does_not(installed: Path) -> None:
    done = validate(
        SAMPLE.replace({"LoRA_type": "LyCORIS/LoKr", "network_dim": 100000}), installed, SD_SCRIPTS
    )
    assert done.ok and done.estimate is not None


def test_an_untouched_form_says_what_to_fill_in_first(installed: Path) -> None:
    done = validate(Form(), installed, NO_GPU)
    assert {problem.field for problem in done.errors} >= {
        "train_data_dir",
        "pretrained_model_name_or_path",
        "optimizer",
        "mixed_precision",
    }


def test_missing_captions_are_counted_and_another_ending_is_suggested(data_dir: Path) -> None:
    captions = sorted((data_dir / "datasets" / "moonlight").rglob("*.txt"))
    captions[0].unlink()
    captions[1].rename(captions[1].with_suffix(".caption"))
    done = validate(SAMPLE, data_dir, NO_GPU)
    said = at(done.problems, "caption_extension")
    assert done.ok
    assert "2 of" in said and "1 have a .caption file" in said


def test_a_broken_picture_is_an_error_that_names_it(data_dir: Path) -> None:
    picture = next((data_dir / "datasets" / "moonlight").rglob("*.png"))
    picture.write_bytes(picture.read_bytes()[:40])
    assert picture.name in at(validate(SAMPLE, data_dir, NO_GPU).errors, "train_data_dir")


def test_an_empty_folder_is_an_error(data_dir: Path) -> None:
    (data_dir / "datasets" / "empty").mkdir()
    done = validate(SAMPLE.replace({"train_data_dir": "datasets/empty"}), data_dir, NO_GPU)
    assert "is empty" in at(done.errors, "train_data_dir")


def test_a_model_that_lacks_a_part_is_an_error(data_dir: Path) -> None:
    shutil.rmtree(data_dir / "models" / "tiny-shapes" / "vae")
    done = validate(SAMPLE, data_dir, NO_GPU)
    assert "vae" in at(done.errors, "pretrained_model_name_or_path")


def test_a_picture_too_narrow_for_a_bucket_is_an_error_with_the_way_out(data_dir: Path) -> None:
    folder = next((data_dir / "datasets" / "moonlight").iterdir())
    Image.new("RGB", (100, 30)).save(folder / "wide.png")
    done = validate(SAMPLE.replace({"enable_bucket": True, "bucket_no_upscale": True}), data_dir, NO_GPU)
    assert "lower bucket_reso_steps" in at(done.errors, "bucket_no_upscale")
    assert "wide.png" in at(done.errors, "bucket_no_upscale")


def test_checking_a_form_writes_nothing(data_dir: Path) -> None:
    before = sorted(str(path) for path in data_dir.rglob("*"))
    validate(SAMPLE, data_dir, NO_GPU)
    assert sorted(str(path) for path in data_dir.rglob("*")) == before


def test_a_form_of_ours_is_made_to_run_on_what_there_is(installed: Path) -> None:
    bare = Capabilities()
    ours = preset("tiny-shapes").form.replace(
        {"optimizer": "PagedAdamW8bit", "xformers": "xformers", "mixed_precision": "fp16", "full_fp16": True}
    )
    assert not validate(ours, installed, bare).ok
    made = suited(ours, bare)
    assert (made["optimizer"], made["xformers"], made["mixed_precision"]) == ("AdamW", "sdpa", "no")
    assert validate(made, installed, bare).ok
    # and where everything is there, or nothing is known, it stays Kohya's
    everything = Capabilities(frozenset({"bitsandbytes", "xformers"}), gpu=True)
    assert suited(ours, everything) == ours == suited(ours, None)


@pytest.mark.parametrize("each", presets(), ids=lambda each: each.name)
def test_every_preset_can_be_suited_to_a_bare_machine(each: Preset) -> None:
    made = suited(each.form, Capabilities(sd_scripts=True))
    lacking = {problem.field for problem in instance_problems(made, Capabilities(sd_scripts=True))}
    assert "optimizer" not in lacking and "xformers" not in lacking and "mixed_precision" not in lacking
