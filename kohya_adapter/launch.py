"""The command line of `accelerate launch`, as kohya_ss builds it: an argv list, never a shell string."""

from __future__ import annotations

import shlex

from backend.errors import InvalidArgument
from kohya_adapter.form import Form

SCRIPTS = {
    "sd": "train_network.py",
    "sdxl": "sdxl_train_network.py",
    "flux": "flux_train_network.py",
    "sd3": "sd3_train_network.py",
    "hunyuan": "hunyuan_image_train_network.py",
    "anima": "anima_train_network.py",
    "lumina": "lumina_train_network.py",
}
"""Model family -> the sd-scripts trainer that it starts."""


def launcher(form: Form, accelerate: str = "accelerate") -> list[str]:
    """`accelerate launch …` up to the script, in kohya_ss's order; what is empty, off or 0 is left out."""
    argv = [accelerate, "launch"]
    argv += _options(form, ("dynamo_backend", "dynamo_mode"))
    argv += _flags(form, ("dynamo_use_fullgraph", "dynamo_use_dynamic"))
    argv += words(form, "extra_accelerate_launch_args")
    argv += _options(form, ("gpu_ids", "main_process_port", "mixed_precision"))
    argv += _flags(form, ("multi_gpu",))
    return argv + _options(form, ("num_processes", "num_machines", "num_cpu_threads_per_process"))


def words(form: Form, key: str) -> list[str]:
    """The arguments that a free text field holds, quotes understood as a shell would (Kohya drops them).

    Raises:
        InvalidArgument: a quote is not closed.
    """
    try:
        return shlex.split(form.text(key))
    except ValueError as error:
        raise InvalidArgument(key, f"cannot be read as arguments: {error}") from None


def _options(form: Form, keys: tuple[str, ...]) -> list[str]:
    argv = []
    for key in keys:
        value = form[key]
        if value if isinstance(value, str) else form.number(key) > 0:
            argv += [f"--{key}", str(value).strip()]
    return argv


def _flags(form: Form, keys: tuple[str, ...]) -> list[str]:
    return [f"--{key}" for key in keys if form.on(key)]
