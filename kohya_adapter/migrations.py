"""Old Kohya files: keys and spellings that today's form no longer has, brought to today's.

Works on the raw JSON object before values are typed. Facts: what kohya_ss itself translates when it opens a file,
and the older FLUX keys of its shared configurations.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED = {
    "lora_network_weights": "network_weights",
    "conv_dims": "conv_block_dims",
    "conv_alphas": "conv_block_alphas",
    "flux1_clip_l": "clip_l",
    "flux1_t5xxl": "t5xxl",
}
NOT_FIELDS = frozenset({"file_path", "save_as", "save_as_bool", "headless", "print_only"})
"""What Kohya's buttons leave in a file; no setting of a training."""


def migrated(raw: Mapping[str, object]) -> dict[str, object]:
    """The same settings under today's keys and spellings; a key of today wins over its old name."""
    values = {key: value for key, value in raw.items() if key not in NOT_FIELDS}
    for old, new in RENAMED.items():
        if old in values:
            value = values.pop(old)
            values.setdefault(new, value)
    if "use_8bit_adam" in values:
        values.setdefault("optimizer", "AdamW8bit" if _is_on(values["use_8bit_adam"]) else "AdamW")
        del values["use_8bit_adam"]
    if "use_wandb" in values and _is_on(values.pop("use_wandb")):
        values["log_with"] = "wandb"
    if isinstance(values.get("xformers"), bool) or values.get("xformers") in ("True", "False"):
        values["xformers"] = "xformers" if _is_on(values["xformers"]) else "none"
    if values.get("LoRA_type") == "LoCon":
        values["LoRA_type"] = "LyCORIS/LoCon"
    if "save_model_as" in values and values["save_model_as"] not in ("ckpt", "safetensors"):
        values["save_model_as"] = "safetensors"
    return values


def _is_on(value: object) -> bool:
    return value is True or str(value).lower() == "true"
