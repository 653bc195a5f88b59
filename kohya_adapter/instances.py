"""What a form asks of the instances and they do not have; and the same form as they can run it."""

from __future__ import annotations

from collections.abc import Iterator

from backend.training import allowed as built_in
from kohya_adapter.allowed import optimizer_package
from kohya_adapter.fields import BY_KEY, FAMILY_CHECKBOXES
from kohya_adapter.form import Form
from kohya_adapter.network import LYCORIS, network_module
from kohya_adapter.problems import Capabilities, Problem

_BUILT_IN = ("sd", "sdxl", "flux")
"""The families that need no sd-scripts."""


def suited(form: Form, instances: Capabilities | None) -> Form:
    """A form of ours, as a start or a preset, with what these instances lack replaced by what they have.

    Kohya's own defaults ask for bitsandbytes, xformers and half precision. A form that somebody brings is never
    changed: it is told what is missing. None: nothing is known of the instances, and nothing is changed.
    """
    if instances is None:
        return form
    changes: dict[str, object] = {}
    if any(problem.field == "optimizer" for problem in _optimizer(form, instances)):
        changes["optimizer"] = _without_package(form.text("optimizer"))
    if form["xformers"] == "xformers" and "xformers" not in instances.packages:
        changes["xformers"] = "sdpa"
    if not instances.gpu and form["mixed_precision"] == "fp16":
        changes["mixed_precision"] = "no"
    if not instances.gpu and form.on("full_fp16"):
        changes["full_fp16"] = False
    return form.replace(changes)


def instance_problems(form: Form, instances: Capabilities) -> Iterator[Problem]:
    """What the instances lack for this form."""
    yield from _optimizer(form, instances)
    if form["xformers"] == "xformers" and "xformers" not in instances.packages:
        if instances.sd_scripts:
            yield Problem(
                "xformers", "xformers is not installed on the instances; choose sdpa, which is as fast"
            )
        else:
            said = "xformers is not installed on the instances; PyTorch's own attention (sdpa) is used"
            yield Problem("xformers", said, "warning")
    if not instances.gpu and (form["mixed_precision"] == "fp16" or form.on("full_fp16")):
        yield Problem(
            "mixed_precision", "the instances have no GPU, and a CPU cannot train in fp16; choose no"
        )
    if not instances.gpu and form.on("multi_gpu"):
        yield Problem("multi_gpu", "the instances have no GPU")
    if network_module(form) == LYCORIS and instances.sd_scripts and "lycoris" not in instances.packages:
        yield Problem("LoRA_type", "LyCORIS is not installed on the instances")
    if form.family not in _BUILT_IN and not instances.sd_scripts:
        said = (
            "the built-in trainer takes Stable Diffusion 1.x, 2.x, SDXL and FLUX.1; set SD_SCRIPTS_DIR on the "
            "instances to train this"
        )
        yield Problem(FAMILY_CHECKBOXES[form.family], said)


def _optimizer(form: Form, instances: Capabilities) -> Iterator[Problem]:
    name = form.text("optimizer")
    package = optimizer_package(name)
    if not instances.sd_scripts:
        kind = built_in.OPTIMIZERS.get(name.lower())
        package = kind.package if kind else None
    if package is None:
        return
    other = f"choose {_without_package(name)}"
    if package not in instances.packages:
        yield Problem(
            "optimizer", f"{name} needs {package}, which is not installed on the instances; {other}"
        )
    elif package == "bitsandbytes" and not instances.gpu:
        yield Problem("optimizer", f"{name} needs an NVIDIA GPU, and the instances have none; {other}")


def _without_package(optimizer: str) -> str:
    """The nearest optimizer that needs nothing installed beside PyTorch."""
    plain = optimizer.removeprefix("Paged").removesuffix("8bit").removesuffix("32bit")
    return plain if plain in BY_KEY["optimizer"].choices and plain != optimizer else "AdamW"
