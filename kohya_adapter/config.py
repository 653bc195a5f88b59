"""Form -> the keys and values of sd-scripts' `--config_file`.

`kohya_config` agrees with kohya_ss key for key, its mistakes included, and is what one compares with;
`trainer_config` is what we run: the same without the keys that the trainer does not know or would refuse, without
secrets, and with the zeros that kohya_ss loses.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TypeAlias

from kohya_adapter.config_keys import NOISE_KEYS, ZERO_MEANS_ZERO, copied_keys
from kohya_adapter.fields import SECRETS
from kohya_adapter.form import Form
from kohya_adapter.network import network_args, network_module

ConfigValue: TypeAlias = str | int | float | bool | list[str] | list[float]
Config: TypeAlias = dict[str, ConfigValue]


def kohya_config(form: Form, *, sample_prompts: str = "", repeated_images: int = 0) -> Config:
    """What kohya_ss writes for this form, keys in alphabetical order.

    `sample_prompts` is the path of the prompt file. `repeated_images` is the sum of images × repeats, from which
    kohya_ss works out `max_train_steps` when the form says 0 and there is no dataset TOML.
    """
    config: dict[str, object] = {key: form[source] for key, source in copied_keys(form.family).items()}
    config |= {key: form[key] for key in NOISE_KEYS.get(form.text("noise_offset_type"), ())}
    config |= _rates(form) | _length(form, repeated_images) | _extras(form)
    config |= {
        "lr_scheduler_args": _args(form, "lr_scheduler_args"),
        "network_args": network_args(form),
        "network_module": network_module(form),
        "optimizer_args": _args(form, "optimizer_args"),
        "optimizer_type": form["optimizer"],
        "persistent_data_loader_workers": int(form.on("persistent_data_loader_workers")),
        "resolution": form["max_resolution"],
        "sample_prompts": sample_prompts,
        "sdpa": form["xformers"] == "sdpa",
        "wandb_run_name": form["wandb_run_name"] or form["output_name"],
        "xformers": form["xformers"] == "xformers",
    }
    kept = {key: value for key, value in config.items() if value not in ("", False, None)}
    kept["max_data_loader_n_workers"] = form["max_data_loader_n_workers"]
    if _is_chroma(form):
        kept |= {"apply_t5_attn_mask": True, "guidance_scale": form["guidance_scale"]}
    return dict(sorted(kept.items()))  # type: ignore[arg-type]


def trainer_config(form: Form, known: Collection[str], *, sample_prompts: str = "") -> Config:
    """What we run: `kohya_config` minus what is not in `known` (the trainer's argument names) and minus secrets.

    Where the form gives neither steps nor epochs, the number of passes goes over as `max_train_epochs`, which the
    trainer counts in real batches: images × repeats / batch size is wrong when buckets do not divide evenly.
    """
    config = kohya_config(form, sample_prompts=sample_prompts)
    if "max_train_steps" not in config and "max_train_epochs" not in config:
        config["max_train_epochs"] = form["epoch"]
    config |= _zeros(form)
    return {
        key: True if key == "persistent_data_loader_workers" else value
        for key, value in sorted(config.items())
        if key in known and key not in SECRETS and _REFUSED.get(key) != value
    }


def left_out(form: Form, known: Collection[str]) -> tuple[str, ...]:
    """Keys that were asked for with a value of their own and that the trainer does not know."""
    asked, untouched = kohya_config(form), kohya_config(Form().with_family(form.family))
    return tuple(
        key for key in asked if key not in known and asked[key] != untouched.get(key) and key != "epoch"
    )


_REFUSED: Config = {"dynamo_backend": "no", "max_token_length": 75}
"""Values that kohya_ss writes although the command line of sd-scripts does not accept them; both mean "unset"."""


def _zeros(form: Form) -> Config:
    sources = {
        **copied_keys(form.family),
        **{key: key for key in NOISE_KEYS.get(form.text("noise_offset_type"), ())},
    }
    return {key: 0 for key in ZERO_MEANS_ZERO if key in sources and form[sources[key]] == 0}


def _rates(form: Form) -> dict[str, object]:
    unet, encoder, t5 = (float(form.number(key)) for key in ("unet_lr", "text_encoder_lr", "t5xxl_lr"))
    unet_only = form.family == "hunyuan" or (encoder == 0 and unet != 0)
    return {
        "learning_rate": float(form.number("learning_rate")),
        "network_train_text_encoder_only": encoder != 0 and unet == 0 and not unet_only,
        "network_train_unet_only": unet_only,
        "text_encoder_lr": [encoder, t5 if t5 > 0 else encoder] if encoder > 0 else None,
        "unet_lr": unet,
    }


def _length(form: Form, repeated_images: int) -> dict[str, object]:
    steps = int(form.number("max_train_steps"))
    by_dataset_file = bool(form.text("dataset_config"))
    if steps == 0 and not by_dataset_file:
        batch = form.number("train_batch_size") * form.number("gradient_accumulation_steps")
        passes = form.number("epoch") * (2 if form.text("reg_data_dir") else 1)
        steps = math.ceil(repeated_images / batch * passes) if batch else 0
    return {"lr_warmup_steps": _warmup(form, steps if by_dataset_file else None), "max_train_steps": steps}


def _warmup(form: Form, total_steps: int | None) -> int | float:
    """Steps, or the fraction of all steps; `total_steps` is given where kohya_ss works out the steps itself."""
    percent, steps = form.number("lr_warmup"), int(form.number("lr_warmup_steps"))
    if total_steps == 0:
        steps = 0
    if steps > 0:
        return steps
    if total_steps:
        return round(percent * total_steps / 100)
    return percent / 100


def _extras(form: Form) -> dict[str, object]:
    """What only appears together with some other setting."""
    extras: dict[str, object] = {}
    if form.family in ("sd", "sdxl") and form.on("train_inpainting"):
        extras |= {"train_inpainting": True, "cache_latents": False, "cache_latents_to_disk": False}
    if form.family in ("flux", "sd3", "anima", "lumina") and form.text("show_timesteps"):
        extras |= {key: form[key] for key in ("show_timesteps", "show_timesteps_resolution")}
    if form.family == "anima":
        extras |= _anima(form)
    if form.family == "flux":
        extras |= {key: float(form.number(key)) for key in ("discrete_flow_shift", "guidance_scale")}
    if _is_chroma(form):
        extras |= {"clip_l": "", "model_type": "chroma"}
    return extras


def _anima(form: Form) -> dict[str, object]:
    extras: dict[str, object] = {}
    if form["anima_attn_mode"] != "torch":
        extras["attn_mode"] = form["anima_attn_mode"]
    if form.on("anima_compile"):
        names = ("backend", "mode", "fullgraph", "cache_size_limit")
        extras |= {f"compile_{name}": form[f"anima_compile_{name}"] for name in names}
        if form["anima_compile_dynamic"] != "auto":
            extras["compile_dynamic"] = form["anima_compile_dynamic"]
    return extras


def _is_chroma(form: Form) -> bool:
    return form.family == "flux" and form.text("model_type").lower() == "chroma"


def _args(form: Form, key: str) -> list[str]:
    return form.text(key).replace('"', "").split()
