"""The `ss_*` metadata of a LoRA file -> the form that trains again like it.

All values of the metadata are texts: what Python prints of them, `None` for what was not given.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Mapping
from typing import Any

from kohya_adapter.config_import import form_of_config
from kohya_adapter.fields import BY_KEY
from kohya_adapter.form import Loaded

_SAME_NAME = (
    "adaptive_noise_scale",
    "cache_latents",
    "caption_dropout_every_n_epochs",
    "caption_dropout_rate",
    "caption_tag_dropout_rate",
    "clip_skip",
    "fp8_base",
    "fp8_base_unet",
    "full_fp16",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "huber_c",
    "huber_scale",
    "huber_schedule",
    "ip_noise_gamma",
    "ip_noise_gamma_random_strength",
    "learning_rate",
    "loss_type",
    "lowram",
    "lr_scheduler",
    "lr_warmup_steps",
    "max_grad_norm",
    "max_token_length",
    "max_train_steps",
    "min_snr_gamma",
    "mixed_precision",
    "multires_noise_discount",
    "multires_noise_iterations",
    "network_alpha",
    "network_dim",
    "network_dropout",
    "network_module",
    "noise_offset",
    "noise_offset_random_strength",
    "output_name",
    "prior_loss_weight",
    "resize_interpolation",
    "scale_weight_norms",
    "seed",
    "text_encoder_lr",
    "training_comment",
    "unet_lr",
    "v2",
    "validation_seed",
    "validation_split",
    "zero_terminal_snr",
)
"""Arguments whose metadata key is their name behind `ss_`."""

_DATASET = (
    "bucket_no_upscale",
    "color_aug",
    "enable_bucket",
    "flip_aug",
    "keep_tokens",
    "max_bucket_reso",
    "min_bucket_reso",
    "random_crop",
    "resolution",
    "shuffle_caption",
)
"""Facts of the dataset; behind `ss_` too, or one level down in `ss_datasets` when a dataset file was used."""

_TEXTS = frozenset({"output_name", "training_comment", "network_module"})
_FAMILIES = {
    "sdxl": "sdxl",
    "flux": "flux",
    "sd3": "sd3",
    "hunyuan": "hunyuan",
    "anima": "anima",
    "lumina": "lumina",
}
_MODELSPEC = {
    "modelspec.title": "metadata_title",
    "modelspec.author": "metadata_author",
    "modelspec.description": "metadata_description",
    "modelspec.license": "metadata_license",
    "modelspec.tags": "metadata_tags",
}


def form_of_metadata(metadata: Mapping[str, str], *, parts: Collection[str] = ()) -> Loaded:
    """The form of a file's metadata.

    `parts` are the parts of the model that the file has a LoRA for (`LoraFile.modules`): the metadata do not say
    whether the text encoder was left out.
    """
    config = {name: _value(name, metadata[f"ss_{name}"]) for name in _SAME_NAME if f"ss_{name}" in metadata}
    config |= _dataset(metadata) | _optimizer(metadata) | _network_args(metadata) | _modelspec(metadata)
    config["debiased_estimation_loss"] = metadata.get("ss_debiased_estimation") == "True"
    config["v_parameterization"] = metadata.get("modelspec.prediction_type", "").startswith("v")
    config["save_precision"] = "fp16"
    config |= {
        "pretrained_model_name_or_path": _text(metadata.get("ss_sd_model_name")),
        "caption_extension": ".txt",
    }
    if parts:
        config["network_train_unet_only"] = not any(part != "U-Net" for part in parts)
        config["network_train_text_encoder_only"] = "U-Net" not in parts
    given = {key: value for key, value in config.items() if value is not None}
    loaded = form_of_config(given, family=_family(metadata))
    return Loaded(loaded.form, (*_reminders(metadata), *loaded.warnings))


def _value(name: str, text: str) -> Any:
    if text == "None":
        return None
    if name in _TEXTS:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _text(text: str | None) -> str | None:
    return None if text in (None, "None") else text


def _family(metadata: Mapping[str, str]) -> str:
    version = metadata.get("ss_base_model_version", "").lower()
    return next((family for sign, family in _FAMILIES.items() if sign in version), "sd")


def _dataset(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The facts of the dataset; of several datasets those of the first, which the form can hold."""
    facts = {name: _value(name, metadata[f"ss_{name}"]) for name in _DATASET if f"ss_{name}" in metadata}
    batch = metadata.get("ss_batch_size_per_device", metadata.get("ss_total_batch_size", ""))
    first = _first_dataset(metadata)
    if first:
        subset: dict[str, Any] = next(iter(first.get("subsets") or [{}]), {})
        facts |= {name: {**subset, **first}[name] for name in _DATASET if name in subset or name in first}
        batch = str(first.get("batch_size_per_device", batch))
    facts["train_batch_size"] = int(batch) if batch.isdecimal() else 1
    facts["min_bucket_reso"] = facts.get("min_bucket_reso") or None
    return facts


def _first_dataset(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        datasets = json.loads(metadata.get("ss_datasets", "[]"))
    except ValueError:
        return {}
    return datasets[0] if isinstance(datasets, list) and datasets and isinstance(datasets[0], dict) else {}


def _optimizer(metadata: Mapping[str, str]) -> dict[str, Any]:
    """`package.module.Class(a=1,b=(0.9, 0.99))`: the class without its module is the name that the form knows."""
    name, _, rest = metadata.get("ss_optimizer", "AdamW").partition("(")
    known = {str(choice).lower(): str(choice) for choice in BY_KEY["optimizer"].choices}
    short = name.rpartition(".")[2]
    return {
        "optimizer_type": known.get(name.lower(), known.get(short.lower(), short)),
        "optimizer_args": _arguments(rest.removesuffix(")")),
    }


def _arguments(text: str) -> list[str]:
    try:
        call = ast.parse(f"f({text})", mode="eval").body
    except SyntaxError:
        return []
    if not isinstance(call, ast.Call):
        return []
    return [f"{word.arg}={ast.unparse(word.value).replace(' ', '')}" for word in call.keywords if word.arg]


def _network_args(metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        args = json.loads(metadata.get("ss_network_args", "{}"))
    except ValueError:
        args = {}
    return {
        "network_args": [f"{name}={value}" for name, value in args.items()] if isinstance(args, dict) else []
    }


def _modelspec(metadata: Mapping[str, str]) -> dict[str, Any]:
    told = {name: metadata[key] for key, name in _MODELSPEC.items() if metadata.get(key)}
    if told.get("metadata_title") == metadata.get("ss_output_name"):
        del told["metadata_title"]
    return told


def _reminders(metadata: Mapping[str, str]) -> list[str]:
    """What no file says, because it is the business of the machine that trained it."""
    said = []
    model = model_name(metadata)
    if model:
        said.append(f"the base model was called {model}; choose the same from your models folder")
    folders = dataset_folders(metadata)
    if folders:
        listed = ", ".join(f"{name} ({count} pictures)" for name, count in folders.items())
        said.append(f"it was trained on {listed}; choose the folder that holds them")
    return said


def model_name(metadata: Mapping[str, str]) -> str:
    """The file or folder name of the base model; empty when the metadata do not say."""
    return _text(metadata.get("ss_sd_model_name")) or ""


def dataset_folders(metadata: Mapping[str, str]) -> dict[str, int]:
    """Image folder -> how many pictures it had."""
    try:
        folders = json.loads(metadata.get("ss_dataset_dirs", "{}"))
        return {str(name): int(facts["img_count"]) for name, facts in folders.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
