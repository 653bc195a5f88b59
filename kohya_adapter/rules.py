"""What the values of a form say against it, whatever the files are: choices, ranges, model families, rules."""

from __future__ import annotations

from collections.abc import Iterator

from kohya_adapter.config import left_out
from kohya_adapter.fields import FAMILY_CHECKBOXES, FIELDS, Field, plain
from kohya_adapter.form import Form
from kohya_adapter.problems import Problem
from kohya_adapter.rule_table import RULES, SD_SCRIPTS_RULES
from kohya_adapter.script_arguments import script_arguments

BUCKET_STEP = {"sd": 64, "sdxl": 32, "flux": 32, "sd3": 32, "hunyuan": 32, "anima": 16, "lumina": 16}
"""Model family -> the number that `bucket_reso_steps` must be a multiple of in sd-scripts."""

NETWORK_FAMILIES = {
    "Flux1": ("flux",),
    "Flux1 OFT": ("flux",),
    "Anima": ("anima",),
    "Lumina": ("lumina",),
    "HunyuanImage-2.1": ("hunyuan",),
    "Kohya LoHa": ("sdxl", "anima"),
    "Kohya LoKr": ("sdxl", "anima"),
    "Standard": ("sd", "sdxl", "sd3"),
    "Kohya LoCon": ("sd", "sdxl", "sd3"),
    "Kohya DyLoRA": ("sd", "sdxl"),
    "LoRA-FA": ("sd", "sdxl"),
}
"""Network type -> the model families it can be trained for; LyCORIS types do for all but anima and lumina."""

REQUIRED_FILES = {
    "flux": ("ae", "t5xxl", "clip_l"),
    "hunyuan": ("hunyuan_text_encoder", "hunyuan_byt5", "hunyuan_vae"),
    "anima": ("anima_qwen3", "anima_vae"),
    "lumina": ("lumina_gemma2", "lumina_ae"),
}
"""Model family -> fields that name files it cannot train without."""

_SHARES = (
    "caption_dropout_rate",
    "clip_g_dropout_rate",
    "module_dropout",
    "network_dropout",
    "noise_offset",
    "pos_emb_random_crop_rate",
    "rank_dropout",
    "sd3_clip_l_dropout_rate",
    "sd3_t5_dropout_rate",
)
_RATES = ("learning_rate", "unet_lr", "text_encoder_lr", "t5xxl_lr")
_AT_LEAST_ONE = (
    "train_batch_size",
    "gradient_accumulation_steps",
    "num_processes",
    "num_machines",
    "bucket_reso_steps",
)


def broken_rules(form: Form, *, sd_scripts: bool) -> Iterator[Problem]:
    """Everything that the values of a form say against it."""
    yield from _choices(form)
    yield from _families(form, sd_scripts=sd_scripts)
    yield from _numbers(form)
    for rule in (*RULES, *(SD_SCRIPTS_RULES if sd_scripts else ())):
        if rule.breaks(form):
            yield Problem(rule.field, rule.message, rule.severity)
    step = BUCKET_STEP[form.family]
    if sd_scripts and form.on("enable_bucket") and form.number("bucket_reso_steps") % step:
        yield Problem("bucket_reso_steps", f"must be a multiple of {step} for this kind of model")
    for key in left_out(form, script_arguments(form.family)):
        yield Problem(key, "sd-scripts does not know this setting; it has no effect", "warning")


def _choices(form: Form) -> Iterator[Problem]:
    for field in FIELDS:
        if field.choices and not field.free and form[field.key] not in field.choices and field.is_shown(form):
            yield Problem(field.key, _not_a_choice(field))


def _not_a_choice(field: Field) -> str:
    return f"choose one of {', '.join(plain(choice) or 'empty' for choice in field.choices)}"


def _families(form: Form, *, sd_scripts: bool) -> Iterator[Problem]:
    ticked = [box for box in FAMILY_CHECKBOXES.values() if form.on(box)]
    for box in ticked[1:]:
        yield Problem(box, "only one kind of model can be ticked")
    kind = form.text("LoRA_type")
    allowed = NETWORK_FAMILIES.get(kind)
    if allowed is None:
        allowed = ("sd", "sdxl", "sd3", "flux", "hunyuan")
    if form.family not in allowed:
        yield Problem(
            "LoRA_type", f"{kind} cannot be trained for this kind of model; it is for {', '.join(allowed)}"
        )
    for key in () if _is_whole(form, sd_scripts=sd_scripts) else REQUIRED_FILES.get(form.family, ()):
        if not form.text(key) and not (key == "clip_l" and form["model_type"] == "chroma"):
            yield Problem(key, "this kind of model cannot be trained without it; name the file")


def _is_whole(form: Form, *, sd_scripts: bool) -> bool:
    """Whether the model is a folder with all parts, which the built-in trainer takes for FLUX; a file has only one."""
    model = form.text("pretrained_model_name_or_path")
    return form.family == "flux" and not sd_scripts and not model.endswith((".safetensors", ".sft"))


def _numbers(form: Form) -> Iterator[Problem]:
    for key in _SHARES:
        if not 0 <= form.number(key) <= 1:
            yield Problem(key, "is a share: 0 to 1")
    for key in _RATES:
        if form.number(key) < 0:
            yield Problem(key, "a learning rate is not negative")
    for key in _AT_LEAST_ONE:
        if form.number(key) < 1:
            yield Problem(key, "is 1 or more")
