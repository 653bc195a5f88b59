"""`network_module` and `network_args` of sd-scripts -> the network type of the form and its fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kohya_adapter.fields import BY_KEY
from kohya_adapter.network import LYCORIS, LYCORIS_ALGORITHMS, MODULES, STANDARD

_FAMILIES = {
    "networks.lora_flux": "flux",
    "networks.oft_flux": "flux",
    "networks.lora_sd3": "sd3",
    "networks.lora_hunyuan_image": "hunyuan",
    "networks.lora_anima": "anima",
    "networks.lora_lumina": "lumina",
}
_RENAMED = {"preset": "LyCORIS_preset", "constraint": "constrain", "block_size": "unit"}


def family_of_module(module: str) -> str | None:
    """The model family that a network module is only for; None for those of several."""
    return _FAMILIES.get(module)


def pairs(args: Iterable[object]) -> dict[str, str]:
    """The `name=value` texts of `network_args` by name."""
    parts = (str(arg).partition("=") for arg in args)
    return {name: value for name, _, value in parts}


def lora_type(module: str, args: Mapping[str, str]) -> str | None:
    """The type that the form calls this network; None when it has none."""
    if module == LYCORIS:
        algorithm = args.get("algo", "lora").strip("\"'").lower()
        return LYCORIS_ALGORITHMS.get({"lora": "locon"}.get(algorithm, algorithm))
    if module in (STANDARD, "networks.lora_sd3"):
        return "Kohya LoCon" if "conv_dim" in args else "Standard"
    return next((kind for kind, name in MODULES.items() if name == module), None)


def network_fields(module: str, args: Mapping[str, str]) -> tuple[dict[str, object], tuple[str, ...]]:
    """The fields of the form that hold these arguments, and the names of those that no field holds.

    What the module does not get has the value that the module itself takes for it.
    """
    values: dict[str, object] = {"rank_dropout": 0, "module_dropout": 0}
    if module == "networks.lora_flux":
        values |= {"train_double_block_indices": "", "train_single_block_indices": ""}
    if module in ("networks.loha", "networks.lokr", "networks.dylora"):
        values |= {"conv_dim": 0, "conv_alpha": 0, "unit": 0}
    left = []
    for name, value in args.items():
        key = _RENAMED.get(name, name) if module == LYCORIS else name
        if key in BY_KEY:
            values[key] = value.strip("\"'")
        elif name not in ("algo", "train_blocks"):
            left.append(name)
    return values, tuple(left)
