"""The file of sample prompts: one a line, options after ` --`, as sd-scripts reads it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument

SAMPLERS = (
    *(
        "ddim",
        "pndm",
        "lms",
        "euler",
        "euler_a",
        "heun",
        "dpm_2",
        "dpm_2_a",
        "dpmsolver",
        "dpmsolver++",
        "dpmsingle",
    ),
    *("k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a"),
)
_FIELD = "sample_prompts"
STEPS, SCALE = 30, 7.5
"""Steps and classifier-free guidance of Stable Diffusion, where a prompt has none of its own."""


@dataclass(frozen=True, slots=True)
class SamplePrompt:
    """One picture to draw while training; None is the default of the run or of the family of its model.

    `width`, `height` in pixels; `scale` is the classifier-free guidance, `guidance` what FLUX is told.
    """

    prompt: str
    negative: str = ""
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    steps: int | None = None
    scale: float | None = None
    guidance: float | None = None
    sampler: str | None = None


def read(path: Path) -> tuple[SamplePrompt, ...]:
    """The prompts of a .txt, .toml or .json file.

    Raises:
        InvalidArgument: the file or one of its prompts cannot be read; the message says which.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".toml":
            return tuple(_from_toml(tomllib.loads(text)))
        if path.suffix == ".json":
            return tuple(_from_mapping(entry) for entry in json.loads(text))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidArgument(_FIELD, f"cannot read {path}: {error}") from None
    lines = (line.strip() for line in text.splitlines())
    return tuple(parse_line(line) for line in lines if line and not line.startswith("#"))


def parse_line(line: str) -> SamplePrompt:
    """A line such as `a red ring --n blurry --w 64 --h 64 --d 1 --s 20 --l 5 --ss euler`.

    Raises:
        InvalidArgument: an option that is not known, or whose value is not a number where it must be.
    """
    prompt, *options = re.split(r"\s--(?=[a-z]+(?:\s|$))", f" {line}")
    values: dict[str, Any] = {"prompt": prompt.strip()}
    for option in options:
        letter, _, value = option.strip().partition(" ")
        values[_option(letter)] = value.strip()
    return _from_mapping(values)


_OPTIONS = {
    **{"n": "negative_prompt", "w": "width", "h": "height", "d": "seed", "s": "sample_steps", "l": "scale"},
    **{"g": "guidance_scale", "ss": "sample_sampler"},
}


def _option(letter: str) -> str:
    if letter not in _OPTIONS:
        known = ", ".join(f"--{name}" for name in _OPTIONS)
        raise InvalidArgument(_FIELD, f"the option --{letter} is not known; there are {known}")
    return _OPTIONS[letter]


def _from_toml(values: dict[str, Any]) -> list[SamplePrompt]:
    section = values.get("prompt", {})
    common = {key: value for key, value in section.items() if key != "subset"}
    return [_from_mapping({**common, **subset}) for subset in section.get("subset", [])]


def _from_mapping(values: dict[str, Any]) -> SamplePrompt:
    sampler = values.get("sample_sampler")
    if sampler is not None and sampler not in SAMPLERS:
        raise InvalidArgument(
            _FIELD, f"the sampler {sampler!r} is not known; there are {', '.join(SAMPLERS)}"
        )
    return SamplePrompt(
        prompt=str(values.get("prompt", "")),
        negative=str(values.get("negative_prompt") or ""),
        width=_whole(values, "width", 8, 4096),
        height=_whole(values, "height", 8, 4096),
        seed=_whole(values, "seed", 0, 2**63 - 1),
        steps=_whole(values, "sample_steps", 1, 1000),
        scale=_real(values, "scale"),
        guidance=_real(values, "guidance_scale"),
        sampler=sampler,
    )


def _whole(values: dict[str, Any], key: str, low: int, high: int) -> int | None:
    if values.get(key) is None:
        return None
    try:
        number = int(str(values[key]))
    except ValueError:
        raise InvalidArgument(_FIELD, f"{key} wants a whole number, not {values[key]!r}") from None
    if not low <= number <= high:
        raise InvalidArgument(_FIELD, f"{key} is {number}; it can be {low} to {high}")
    return number


def _real(values: dict[str, Any], key: str) -> float | None:
    if values.get(key) is None:
        return None
    try:
        return float(str(values[key]))
    except ValueError:
        raise InvalidArgument(_FIELD, f"{key} wants a number, not {values[key]!r}") from None
