"""The JSON of a query, typed and checked. Knows no torch, so that clients check with it, too."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NoReturn

from backend.errors import InvalidArgument

SCHEDULERS = (
    *("default", "ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a"),
    *("dpm++_2m", "dpm++_2m_karras", "dpm++_sde", "unipc"),
)
LONGEST_PROMPT = 10_000
LARGEST_SIDE = 8192
MOST_PICTURES = 64
HEAVIEST = 10.0
_SEEDS = 2**32
_LOOKED_INTO = 256 << 10  # bytes; a larger query carries a picture
_LORA_IN_TEXT = re.compile(r"<(?:lora|lyco):[^<>]+>")


@dataclass(frozen=True, slots=True)
class LoraChoice:
    """A LoRA by name, and how strongly it is applied."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to draw. `width`, `height` are pixels, None: what the model was made for; `seed` None: a random one.

    `image` holds the bytes of a picture to start from; `strength` how much of it is painted over.
    """

    prompt: str
    negative_prompt: str = ""
    model: str = ""
    loras: tuple[LoraChoice, ...] = ()
    width: int | None = None
    height: int | None = None
    steps: int = 30
    guidance: float = 7.5
    seed: int | None = None
    count: int = 1
    scheduler: str = "default"
    image: bytes | None = None
    strength: float = 0.75
    clip_skip: int = 0
    preview_every: int = 0
    output: Literal["base64", "file"] = "base64"

    def parameters(self) -> dict[str, Any]:
        """The values for an answer: all but the picture and how it is delivered."""
        left_out = {"image", "preview_every", "output"} | (set() if self.image else {"strength"})
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def seeded(self, seed: int) -> GenerationRequest:
        """The same with this seed where it has none."""
        return self if self.seed is not None else replace(self, seed=seed)

    def to_json(self) -> dict[str, Any]:
        """The body of a query; `parse` reads it back."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        if self.loras:
            values["loras"] = [asdict(lora) for lora in self.loras]
        if self.image is not None:
            values["image"] = base64.b64encode(self.image).decode()
        return values


def parse(body: bytes | str | Mapping[str, Any]) -> GenerationRequest:
    """Read a query.

    Raises:
        InvalidArgument: it is no JSON object, a key is unknown, or a value cannot be; `field` says which.
    """
    values = body if isinstance(body, Mapping) else _load(body)
    known = {f.name for f in fields(GenerationRequest)}
    for key in values:
        if key not in known:
            raise InvalidArgument(str(key)[:100], f"is not known; there are {', '.join(sorted(known))}")
    given = {key: value for key, value in values.items() if value is not None}
    if not isinstance(given.get("prompt"), str):
        raise InvalidArgument("prompt", "is missing: a text is expected")
    read: dict[str, Any] = {key: _READERS[key](key, value) for key, value in given.items()}
    return GenerationRequest(**read)


def models_of(body: bytes) -> list[str]:
    """What a query names: its model ('' is the default one), then its LoRAs; [] when it cannot be read."""
    try:
        request = parse(body) if len(body) <= _LOOKED_INTO else None
    except InvalidArgument:
        return []
    return [request.model, *(lora.name for lora in request.loras)] if request else []


def _load(body: bytes | str) -> Mapping[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidArgument("body", "is not JSON") from None
    if not isinstance(values, dict):
        raise InvalidArgument("body", "a JSON object is expected")
    return values


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(key, f"a text is expected, not {_shown(value)}")
    if len(value) > LONGEST_PROMPT:
        raise InvalidArgument(key, f"has {len(value)} characters; up to {LONGEST_PROMPT} are taken")
    return value


def _prompt(key: str, value: Any) -> str:
    text = _text(key, value)
    found = _LORA_IN_TEXT.search(text)
    if found:
        raise InvalidArgument(
            key,
            f"names a LoRA: {found[0][:100]}. Take that out, and give the LoRA and its weight under LoRAs (loras)",
        )
    return text


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 500:
        raise InvalidArgument(key, f"a name is expected, not {_shown(value)}")
    return value.strip()


def _whole(low: int, high: int, multiple: int = 1) -> Any:
    def read(key: str, value: Any) -> int:
        if isinstance(value, bool) or not (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        ):
            raise InvalidArgument(key, f"a whole number is expected, not {_shown(value)}")
        if not low <= value <= high:
            raise InvalidArgument(key, f"is {value}; it can be {low} to {high}")
        if value % multiple:
            near = max(low, round(value / multiple) * multiple)
            raise InvalidArgument(key, f"is {value}; a multiple of {multiple} is needed, such as {near}")
        return int(value)

    return read


def _real(low: float, high: float, *, above: bool = False) -> Any:
    def read(key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidArgument(key, f"a finite number is expected, not {_shown(value)}")
        if not low <= value <= high or (above and value == low):
            raise InvalidArgument(key, f"is {value}; it can be {'above ' * above}{low:g} to {high:g}")
        return float(value)

    return read


def _one_of(*words: str) -> Any:
    def read(key: str, value: Any) -> str:
        if value not in words:
            raise InvalidArgument(key, f"is {_shown(value)}; there are {', '.join(words)}")
        return str(value)

    return read


def _picture(key: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise InvalidArgument(key, "the base64 of a picture is expected")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument(key, "is not base64") from None


def _loras(key: str, value: Any) -> tuple[LoraChoice, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidArgument(key, "a list of {name, weight} is expected")
    return tuple(_lora(f"{key}[{place}]", entry) for place, entry in enumerate(value))


def _lora(where: str, entry: Any) -> LoraChoice:
    if isinstance(entry, str):
        return LoraChoice(_name(f"{where}.name", entry))
    if not isinstance(entry, dict):
        _refuse(where, entry)
    for key in entry:
        if key not in ("name", "weight"):
            raise InvalidArgument(f"{where}.{str(key)[:100]}", "is not known; there are name, weight")
    weight = entry.get("weight")
    return LoraChoice(
        _name(f"{where}.name", entry.get("name")),
        1.0 if weight is None else _real(-HEAVIEST, HEAVIEST)(f"{where}.weight", weight),
    )


def _refuse(where: str, value: Any) -> NoReturn:
    raise InvalidArgument(where, f"{{name, weight}} is expected, not {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_READERS: dict[str, Any] = {
    "prompt": _prompt,
    "negative_prompt": _text,
    "model": _name,
    "loras": _loras,
    "width": _whole(8, LARGEST_SIDE, 8),
    "height": _whole(8, LARGEST_SIDE, 8),
    "steps": _whole(1, 1000),
    "guidance": _real(0.0, 100.0),
    "seed": _whole(0, _SEEDS - 1),
    "count": _whole(1, MOST_PICTURES),
    "scheduler": _one_of(*SCHEDULERS),
    "image": _picture,
    "strength": _real(0.0, 1.0, above=True),
    "clip_skip": _whole(0, 11),
    "preview_every": _whole(0, 1000),
    "output": _one_of("base64", "file"),
}
