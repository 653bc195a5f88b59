from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.errors import InvalidArgument, InvalidInput, PathOutsideDataFolder
from backend.training.arguments import TrainingArguments, from_values, parse

Parsed = Callable[..., TrainingArguments]


def test_a_command_line_becomes_typed_values(parsed: Parsed, tmp_path: Path) -> None:
    args = parsed("--unet_lr=1e-4", "--text_encoder_lr", "1e-5", "2e-5", "--optimizer_args", "betas=0.9,0.99")
    assert args.output_dir == tmp_path / "out"
    assert args.resolution == (64, 64)
    assert (args.unet_lr, args.text_encoder_lr) == (1e-4, (1e-5, 2e-5))
    assert args.optimizer_args == {"betas": (0.9, 0.99)}
    assert (args.network_alpha, args.max_grad_norm, args.learning_rate) == (1.0, 1.0, 2e-6)


def test_the_command_line_beats_the_file_whose_sections_are_flat(argv: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('network_dim = 4\nnetwork_alpha = 2\n[optim]\noptimizer_type = "Lion"\nseed = "12"\n')
    args = parse(["--config_file", str(file), *argv, "--network_dim", "16"], data_dir=None)
    assert (args.network_dim, args.network_alpha, args.optimizer_type, args.seed) == (16, 2.0, "Lion", 7)


def test_a_file_named_without_its_suffix_lies_in_the_data_folder_too(argv: list[str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "data.toml").write_text("network_dim = 4\n")
    (data / "link.toml").symlink_to(tmp_path / "data.toml")
    with pytest.raises(PathOutsideDataFolder):
        parse(["--config_file", "link", *argv], data_dir=data)
    with pytest.raises(InvalidArgument):
        parse(["--config_file", ".", *argv], data_dir=data)


def test_what_kohya_adds_to_its_file_is_left_out(parsed: Parsed, argv: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        'epoch = 1\nnoise_offset_type = "Original"\nmax_token_length = 75\ndynamo_backend = "no"\n'
    )
    assert parse(["--config_file", str(file), *argv], data_dir=None) == parsed()


def test_zero_and_empty_stand_for_not_given(parsed: Parsed) -> None:
    args = parsed(
        "--save_every_n_steps", "0", "--clip_skip", "0", "--min_snr_gamma", "0", "--max_train_epochs", "0"
    )
    assert args == parsed()


@pytest.mark.parametrize(
    ("more", "field", "told"),
    [
        (["--network_dim", "abc"], "network_dim", "a whole number, not 'abc'"),
        (["--netwerk_dim", "8"], "netwerk_dim", "did you mean 'network_dim'"),
        (["--full_fp16"], "full_fp16", "not supported by the built-in trainer: gradients of 16-bit"),
        (["--network_dim"], "network_dim", "wants a value"),
        (["--network_module", "os.system"], "network_module", "not one that the built-in trainer has"),
        (
            ["--optimizer_type", "evil.module.Class"],
            "optimizer_type",
            "not an optimizer of the built-in trainer",
        ),
        (["--optimizer_args", "betas=__import__('os')"], "optimizer_args", "neither a number nor a list"),
        (["--optimizer_args", "beta=1"], "optimizer_args", "did you mean 'betas'"),
        (["--lr_scheduler", "evil"], "lr_scheduler", "it has constant"),
        (["--save_model_as", "ckpt"], "save_model_as", "only safetensors"),
        (["--log_with", "wandb"], "log_with", "tensorboard"),
        (["--output_name", "../x"], "output_name", "without folder"),
        (["--caption_extension", "/../x"], "caption_extension", "an ending"),
        (["--adaptive_noise_scale", "0.1"], "adaptive_noise_scale", "needs noise_offset"),
        (["--min_timestep", "500", "--max_timestep", "400"], "min_timestep", "below max_timestep"),
        (["--cache_latents", "--random_crop"], "random_crop", "cache_latents off"),
        (
            ["--network_train_unet_only", "--network_train_text_encoder_only"],
            "network_train_unet_only",
            "nothing",
        ),
        (["--learning_rate", "0"], "learning_rate", "nothing would be learned"),
        (["--max_train_steps", "0"], "max_train_steps", "nothing would be trained"),
        (["--sample_every_n_steps", "5"], "sample_prompts", "required for samples"),
        (["--resolution", "big"], "resolution", "wants pixels"),
        (["--bucket_reso_steps", "10"], "bucket_reso_steps", "multiple of 8"),
    ],
)
def test_a_wrong_argument_is_named(parsed: Parsed, more: list[str], field: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told) as caught:
        parsed(*more)
    assert caught.value.field == field


def test_a_wrong_key_in_the_file_is_named_too(argv: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for text, field in (
        ("netwrk_dim = 8", "netwrk_dim"),
        ('network_dim = "abc"', "network_dim"),
        ("fp8_base = true", "fp8_base"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidArgument) as caught:
            parse(["--config_file", str(file), *argv], data_dir=None)
        assert caught.value.field == field


def test_a_stray_word_is_an_error(parsed: Parsed) -> None:
    with pytest.raises(InvalidInput, match="'stray'"):
        parsed("--lowram", "stray")


def test_what_has_no_effect_is_accepted_and_noted(parsed: Parsed) -> None:
    assert parsed("--lowram").notes == (
        "lowram has no effect here: models are loaded straight to the device",
    )


def test_paths_are_confined_to_the_data_folder(argv: list[str], tmp_path: Path) -> None:
    values = {
        "pretrained_model_name_or_path": "models/m",
        "train_data_dir": "datasets/d",
        "output_dir": "out",
        "resolution": 64,
    }
    assert from_values(values, data_dir=tmp_path).output_dir == tmp_path / "out"
    for name in (
        "output_dir",
        "train_data_dir",
        "resume",
        "logging_dir",
        "sample_prompts",
        "network_weights",
        "vae",
    ):
        with pytest.raises(PathOutsideDataFolder) as caught:
            from_values({**values, name: "../elsewhere"}, data_dir=tmp_path)
        assert caught.value.field == name


def test_checking_arguments_needs_no_torch() -> None:
    code = "import sys, backend.training.arguments, backend.training.checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_file_that_an_untouched_form_of_kohya_writes(argv: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        """
        bucket_no_upscale = true
        bucket_reso_steps = 64
        cache_latents = true
        caption_extension = ".txt"
        clip_skip = 1
        dynamo_backend = "no"
        enable_bucket = true
        epoch = 1
        gradient_accumulation_steps = 1
        huber_c = 0.1
        huber_scale = 1
        huber_schedule = "snr"
        learning_rate = 0.0001
        loss_type = "l2"
        lr_scheduler = "cosine"
        lr_scheduler_args = []
        lr_scheduler_num_cycles = 1
        lr_scheduler_power = 1
        lr_warmup_steps = 0.1
        max_bucket_reso = 2048
        max_data_loader_n_workers = 0
        max_grad_norm = 1
        max_timestep = 1000
        max_token_length = 75
        max_train_steps = 1600
        min_bucket_reso = 256
        mixed_precision = "fp16"
        network_alpha = 1
        network_args = []
        network_dim = 8
        network_module = "networks.lora"
        noise_offset_type = "Original"
        optimizer_args = []
        optimizer_type = "AdamW8bit"
        prior_loss_weight = 1
        sample_sampler = "euler_a"
        save_every_n_epochs = 1
        save_model_as = "safetensors"
        save_precision = "fp16"
        text_encoder_lr = [0.0001, 0.0001]
        unet_lr = 0.0001
        wandb_run_name = "last"
        xformers = true
        """
    )
    args = parse(["--config_file", str(file), *argv], data_dir=None)
    assert (args.network_dim, args.text_encoder_lr, args.optimizer_type) == (8, (1e-4, 1e-4), "AdamW8bit")
    assert args.notes == ("wandb_run_name has no effect here: it needs log_with wandb",)
