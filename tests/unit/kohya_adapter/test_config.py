"""Form -> configuration: kohya_ss's own rendering key for key, and the one that we run."""

from __future__ import annotations

import tomllib

import pytest

from kohya_adapter import Form, command, kohya_command
from kohya_adapter.config import Config, kohya_config, left_out, trainer_config
from kohya_adapter.script_arguments import script_arguments

DEFAULT: Config = {
    "bucket_no_upscale": True,
    "bucket_reso_steps": 64,
    "cache_latents": True,
    "caption_extension": ".txt",
    "clip_skip": 1,
    "dynamo_backend": "no",
    "enable_bucket": True,
    "epoch": 1,
    "gradient_accumulation_steps": 1,
    "huber_c": 0.1,
    "huber_scale": 1.0,
    "huber_schedule": "snr",
    "learning_rate": 0.0001,
    "logging_dir": "/data/log",
    "loss_type": "l2",
    "lr_scheduler": "cosine",
    "lr_scheduler_args": [],
    "lr_scheduler_num_cycles": 1,
    "lr_scheduler_power": 1.0,
    "lr_warmup_steps": 0.1,
    "max_bucket_reso": 2048,
    "max_data_loader_n_workers": 0,
    "max_grad_norm": 1.0,
    "max_timestep": 1000,
    "max_token_length": 75,
    "max_train_steps": 1600,
    "min_bucket_reso": 256,
    "mixed_precision": "fp16",
    "network_alpha": 1,
    "network_args": [],
    "network_dim": 8,
    "network_module": "networks.lora",
    "noise_offset_type": "Original",
    "optimizer_args": [],
    "optimizer_type": "AdamW8bit",
    "output_dir": "/data/out",
    "output_name": "last",
    "pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5",
    "prior_loss_weight": 1.0,
    "resolution": "512,512",
    "sample_prompts": "/data/out/sample/prompt.txt",
    "sample_sampler": "euler_a",
    "save_every_n_epochs": 1,
    "save_model_as": "safetensors",
    "save_precision": "fp16",
    "text_encoder_lr": [0.0001, 0.0001],
    "train_batch_size": 1,
    "train_data_dir": "/data/img",
    "unet_lr": 0.0001,
    "wandb_run_name": "last",
    "xformers": True,
}
UNTOUCHED = Form({"output_dir": "/data/out", "logging_dir": "/data/log", "train_data_dir": "/data/img"})


def run(form: Form) -> Config:
    return trainer_config(form, script_arguments(form.family))


def test_the_untouched_form_is_the_51_keys_that_kohya_writes() -> None:
    done = kohya_command(
        UNTOUCHED,
        config_file="/data/out/config_lora-20261121-193953.toml",
        sample_prompts="/data/out/sample/prompt.txt",
        script="/kohya/sd-scripts/train_network.py",
        accelerate="/venv/bin/accelerate",
    )
    assert len(DEFAULT) == 51
    assert done.config == DEFAULT
    assert list(done.config) == sorted(done.config)
    assert tomllib.loads(done.config_toml) == DEFAULT
    assert done.line == (
        "/venv/bin/accelerate launch --dynamo_backend no --dynamo_mode default --mixed_precision fp16 "
        "--num_processes 1 --num_machines 1 --num_cpu_threads_per_process 2 "
        "/kohya/sd-scripts/train_network.py --config_file /data/out/config_lora-20261121-193953.toml"
    )


def test_we_run_the_same_minus_what_sd_scripts_does_not_take() -> None:
    ours = trainer_config(UNTOUCHED, script_arguments("sd"), sample_prompts="/data/out/sample/prompt.txt")
    gone = set(DEFAULT) - set(ours)
    assert gone == {"epoch", "noise_offset_type", "dynamo_backend", "max_token_length"}
    assert ours == {key: value for key, value in DEFAULT.items() if key not in gone}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"text_encoder_lr": 0}, {"text_encoder_lr": None, "network_train_unet_only": True}),
        ({"unet_lr": 0}, {"unet_lr": None, "network_train_text_encoder_only": True}),
        ({"unet_lr": 0, "text_encoder_lr": 0}, {"network_train_unet_only": None, "learning_rate": 1e-4}),
        ({"flux1_checkbox": True, "t5xxl_lr": 1e-5}, {"text_encoder_lr": [1e-4, 1e-5]}),
        ({"lr_warmup": 5}, {"lr_warmup_steps": 0.05}),
        ({"lr_warmup": 5, "lr_warmup_steps": 20}, {"lr_warmup_steps": 20}),
        ({"lr_warmup": 0}, {"lr_warmup_steps": None}),
        ({"lr_warmup": 5, "dataset_config": "/d.toml"}, {"lr_warmup_steps": 80}),
        ({"noise_offset": 0.05}, {"noise_offset": 0.05, "multires_noise_iterations": None}),
        (
            {"noise_offset_type": "Multires", "noise_offset": 0.05, "multires_noise_iterations": 6},
            {"noise_offset": None, "multires_noise_iterations": 6, "multires_noise_discount": 0.3},
        ),
        ({"xformers": "sdpa"}, {"sdpa": True, "xformers": None}),
        ({"xformers": "none"}, {"sdpa": None, "xformers": None}),
        ({"seed": 42}, {"seed": 42}),
        ({"max_train_epochs": 3}, {"max_train_epochs": 3, "max_train_steps": 1600}),
        (
            {"optimizer_args": "weight_decay=0.1 betas=0.9,0.99"},
            {"optimizer_args": ["weight_decay=0.1", "betas=0.9,0.99"]},
        ),
        ({"sdxl": True, "sdxl_no_half_vae": True}, {"no_half_vae": True}),
        ({"sdxl_no_half_vae": True}, {"no_half_vae": None}),
        ({"sdxl": True, "train_inpainting": True}, {"train_inpainting": True, "cache_latents": None}),
        (
            {"flux1_checkbox": True},
            {"max_token_length": None, "guidance_scale": 3.5, "discrete_flow_shift": 3.0},
        ),
        (
            {"flux1_checkbox": True, "model_type": "chroma", "clip_l": "/c", "guidance_scale": 0},
            {"clip_l": None, "model_type": "chroma", "apply_t5_attn_mask": True, "guidance_scale": 0},
        ),
        (
            {"sd3_checkbox": True, "sd3_clip_l": "/c", "clip_l": "/no"},
            {"clip_l": "/c", "network_module": "networks.lora_sd3"},
        ),
        ({"hunyuan_image_checkbox": True}, {"network_train_unet_only": True, "clip_skip": None}),
        (
            {"anima_checkbox": True, "anima_qwen3": "/q"},
            {"qwen3": "/q", "timestep_sampling": "sigmoid", "vae": None},
        ),
        ({"lumina_checkbox": True, "lumina_ae": "/ae"}, {"ae": "/ae", "sigmoid_scale": 1.0}),
        ({"wandb_run_name": "w"}, {"wandb_run_name": "w"}),
    ],
)
def test_a_setting_becomes_what_kohya_makes_of_it(
    values: dict[str, object], expected: dict[str, object]
) -> None:
    config = kohya_config(Form(values))
    assert {key: config.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("images", "values", "steps"),
    [
        (100, {}, 100),
        (100, {"train_batch_size": 3}, 34),
        (100, {"train_batch_size": 3, "gradient_accumulation_steps": 2, "epoch": 10}, 167),
        (100, {"reg_data_dir": "/reg"}, 200),
    ],
)
def test_no_step_limit_is_worked_out_from_the_images_as_kohya_does(
    images: int, values: dict[str, object], steps: int
) -> None:
    config = kohya_config(Form({"max_train_steps": 0, **values}), repeated_images=images)
    assert config["max_train_steps"] == steps


def test_no_step_limit_runs_the_epochs_of_the_form() -> None:
    config = run(Form({"max_train_steps": 0, "epoch": 7}))
    assert config["max_train_epochs"] == 7 and "max_train_steps" not in config


@pytest.mark.parametrize("key", ["max_grad_norm", "prior_loss_weight", "lr_scheduler_power", "network_alpha"])
def test_a_zero_that_means_something_reaches_the_trainer(key: str) -> None:
    form = Form({key: 0})
    assert key not in kohya_config(form)
    assert run(form)[key] == 0


def test_a_zero_of_another_noise_kind_stays_away() -> None:
    assert "multires_noise_discount" not in run(Form({"multires_noise_discount": 0}))
    assert (
        run(Form({"multires_noise_discount": 0, "noise_offset_type": "Multires"}))["multires_noise_discount"]
        == 0
    )


def test_persistent_workers_are_a_switch_for_the_trainer() -> None:
    assert run(Form({"persistent_data_loader_workers": True}))["persistent_data_loader_workers"] is True


def test_what_the_trainer_does_not_know_is_named_when_it_was_asked_for() -> None:
    known = script_arguments("flux")
    assert left_out(Form({"flux1_checkbox": True, "mem_eff_save": True}), known) == ("mem_eff_save",)
    assert left_out(Form({"sdxl": True, "train_inpainting": True, "epoch": 5}), script_arguments("sdxl")) == (
        "train_inpainting",
    )
    assert left_out(Form(), script_arguments("sd")) == ()


def test_secrets_go_by_environment_and_never_into_the_file() -> None:
    form = Form({"huggingface_token": "hf_x", "wandb_api_key": "w_x", "huggingface_repo_id": "me/cat"})
    done = command(form, config_file="/c.toml", sample_prompts="/p.txt")
    assert done.secrets == {"HF_TOKEN": "hf_x", "WANDB_API_KEY": "w_x"}
    assert "hf_x" not in done.config_toml + done.line + repr(done)
    assert "w_x" not in done.config_toml + done.line + repr(done)
