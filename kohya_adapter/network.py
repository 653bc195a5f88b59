"""Network type of the form -> the module that sd-scripts imports and its `network_args`.

Names and arguments are those that kohya_ss gives to each type. The type is a closed list, so that a form can never
name a module of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from kohya_adapter.fields import plain
from kohya_adapter.form import Form

LYCORIS = "lycoris.kohya"
STANDARD = "networks.lora"

_LYCORIS_ARGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "LyCORIS/BOFT": ("boft", ("use_tucker", "rank_dropout_scale")),
    "LyCORIS/Diag-OFT": (
        "diag-oft",
        ("use_tucker", "rank_dropout_scale", "constraint=constrain", "rescaled"),
    ),
    "LyCORIS/DyLoRA": ("dylora", ("use_tucker", "block_size=unit")),
    "LyCORIS/GLoRA": ("glora", ("use_tucker", "rank_dropout_scale")),
    "LyCORIS/LoCon": ("locon", ("use_tucker", "bypass_mode", "dora_wd", "use_scalar", "rank_dropout_scale")),
    "LyCORIS/LoHa": ("loha", ("use_tucker", "bypass_mode", "dora_wd", "use_scalar", "rank_dropout_scale")),
    "LyCORIS/LoKr": (
        "lokr",
        (
            "use_tucker",
            "bypass_mode",
            "dora_wd",
            "factor",
            "use_cp",
            "use_scalar",
            "decompose_both",
            "rank_dropout_scale",
        ),
    ),
    "LyCORIS/Native Fine-Tuning": ("full", ("rank_dropout_scale",)),
}
"""Type -> (algorithm, arguments besides the common ones). `a=b` is the argument a with the value of field b."""

_BLOCK_ARGS = (
    "down_lr_weight",
    "mid_lr_weight",
    "up_lr_weight",
    "block_lr_zero_threshold",
    "block_dims",
    "block_alphas",
    "conv_block_dims",
    "conv_block_alphas",
    "rank_dropout",
    "module_dropout",
)
_FLUX_ARGS = (
    "img_attn_dim",
    "img_mlp_dim",
    "img_mod_dim",
    "single_dim",
    "txt_attn_dim",
    "txt_mlp_dim",
    "txt_mod_dim",
    "single_mod_dim",
    "in_dims",
    "train_double_block_indices",
    "train_single_block_indices",
)
_DROPOUTS = ("rank_dropout", "module_dropout")
_LORAPLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")

LYCORIS_ALGORITHMS = {
    "ia3": "LyCORIS/iA3",
    **{algorithm: kind for kind, (algorithm, _) in _LYCORIS_ARGS.items()},
}
"""Algorithm of LyCORIS -> network type."""

MODULES = {
    "Standard": STANDARD,
    "Kohya LoCon": STANDARD,
    "Kohya DyLoRA": "networks.dylora",
    "Kohya LoHa": "networks.loha",
    "Kohya LoKr": "networks.lokr",
    "LoRA-FA": "networks.lora_fa",
    "Flux1": "networks.lora_flux",
    "Flux1 OFT": "networks.oft_flux",
    "HunyuanImage-2.1": "networks.lora_hunyuan_image",
    "Anima": "networks.lora_anima",
    "Lumina": "networks.lora_lumina",
    "LyCORIS/iA3": LYCORIS,
    **dict.fromkeys(_LYCORIS_ARGS, LYCORIS),
}
"""Network type -> module. Nothing else is ever imported for a form."""


def network_module(form: Form) -> str:
    """The `network_module` of a form; empty when the type is not one of Kohya's."""
    module = MODULES.get(form.text("LoRA_type"), "")
    return "networks.lora_sd3" if module == STANDARD and form.on("sd3_checkbox") else module


def network_args(form: Form) -> list[str]:
    """The `network_args` of a form: a list of `name=value` texts without quotes, as sd-scripts takes them.

    Blanks inside a value are left out: sd-scripts would read what follows as another argument.
    """
    return [arg.replace('"', "").replace(" ", "") for arg in (*_type_args(form), *_set(form, _LORAPLUS))]


def _type_args(form: Form) -> list[str]:
    kind = form.text("LoRA_type")
    if kind in _LYCORIS_ARGS:
        return _lycoris(form, *_LYCORIS_ARGS[kind])
    match kind:
        case "LyCORIS/iA3":
            fields = ("preset=LyCORIS_preset", "conv_dim", "conv_alpha", "train_on_input")
            return [*_all(form, fields), "algo=ia3"]
        case "Standard" | "LoRA-FA":
            return _set(form, _BLOCK_ARGS)
        case "Kohya LoCon":
            return [*_all(form, ("conv_dim", "conv_alpha")), *_set(form, _BLOCK_ARGS)]
        case "Kohya DyLoRA":
            return _set(form, ("conv_dim", "conv_alpha", *_BLOCK_ARGS, "unit"))
        case "Kohya LoHa" | "Kohya LoKr":
            return _native_loha(form)
        case "Flux1":
            return _flux(form)
        case "Flux1 OFT":
            return _set(form, ("enable_all_linear",))
        case "HunyuanImage-2.1" | "Anima" | "Lumina":
            return _set(form, _DROPOUTS)
        case _:
            return []


def _lycoris(form: Form, algorithm: str, own: Iterable[str]) -> list[str]:
    convolution = () if algorithm == "full" else ("conv_dim", "conv_alpha")
    common = ("preset=LyCORIS_preset", *convolution, "rank_dropout", "module_dropout", "train_norm")
    return [*_all(form, (*common, *own)), f"algo={algorithm}"]


def _native_loha(form: Form) -> list[str]:
    args = _all(form, ("conv_dim", "conv_alpha")) if form.number("conv_dim") > 0 else []
    args += _set(form, ("use_tucker",))
    if form["LoRA_type"] == "Kohya LoKr" and form["factor"] != -1:
        args += _all(form, ("factor",))
    return args + _set(form, _DROPOUTS)


def _flux(form: Form) -> list[str]:
    args = _set(form, _FLUX_ARGS)
    if form.on("train_lora_ggpo"):
        args += _set(form, ("ggpo_sigma", "ggpo_beta"))
    if form.on("split_mode"):
        args.append("train_blocks=single")
    if form.on("split_qkv"):
        args.append("split_qkv=True")
    if form.on("train_t5xxl") and form.on("flux1_checkbox"):
        args.append("train_t5xxl=True")
    return args + _set(form, _DROPOUTS)


def _all(form: Form, names: Iterable[str]) -> list[str]:
    pairs = (name.partition("=") for name in names)
    return [f"{name}={_python(form, key or name)}" for name, _, key in pairs]


def _set(form: Form, names: Iterable[str]) -> list[str]:
    return [f"{name}={_python(form, name)}" for name in names if form[name]]


def _python(form: Form, key: str) -> str:
    value = form[key]
    return str(value) if isinstance(value, bool) else plain(value)
