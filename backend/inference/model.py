"""A loaded base model, with LoRAs merged into its weights and taken out again.

The weights that a LoRA changes are copied before the first change. A change of LoRAs starts from those copies, never
from what is there, so that whatever was merged in between, no LoRAs means the very bits of the base model.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from torch import Tensor, nn

from backend.errors import InvalidArgument
from backend.inference import flux_names, lora_names
from backend.inference.catalog import ModelEntry
from backend.inference.lora_deltas import Factors, LoraFile, WrongShape
from backend.training import checkpoint, model_folder

STEPWISE = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
_PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
_TEXTS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Applied:
    """A LoRA and how strongly it is merged. `key` identifies the file, `field` is where a query named it."""

    key: str
    lora: LoraFile
    weight: float
    field: str = "loras"


class LoadedModel:
    """A pipeline on its device. For one thread.

    `size`: bytes of its parameters; `kept`: bytes of the copies that taking LoRAs out again needs.
    """

    def __init__(self, entry: ModelEntry, pipeline: Any, device: torch.device) -> None:
        self.entry, self.pipeline, self.device = entry, pipeline, device
        self.stepwise = type(pipeline).__name__ in STEPWISE
        self.texts: OrderedDict[Any, tuple[Tensor, ...]] = OrderedDict()
        self._modules = _weighted(pipeline)
        self._names = lora_names.table(
            {part: list(found) for part, found in self._modules.items()}, _shape(pipeline)
        )
        self._copies: dict[tuple[str, str], Tensor] = {}
        self._changed: set[tuple[str, str]] = set()
        self._state: tuple[tuple[str, float], ...] = ()

    @property
    def size(self) -> int:
        return sum(
            p.numel() * p.element_size()
            for part in self.pipeline.components.values()
            if isinstance(part, nn.Module)
            for p in part.parameters()
        )

    @property
    def kept(self) -> int:
        return sum(copy.numel() * copy.element_size() for copy in self._copies.values())

    @property
    def native_size(self) -> int:
        """The side in pixels that it was made for."""
        part = getattr(self.pipeline, "unet", None) or getattr(self.pipeline, "transformer", None)
        sample = getattr(getattr(part, "config", None), "sample_size", None)
        return int(sample) * self.pixels_per_latent if isinstance(sample, int) else 1024

    @property
    def pixels_per_latent(self) -> int:
        """Pixels along a side for each latent."""
        return int(getattr(self.pipeline, "vae_scale_factor", 8))

    @torch.no_grad()
    def use(self, loras: Sequence[Applied]) -> None:
        """Have exactly these LoRAs merged; the same ones as before cost nothing.

        Raises:
            InvalidArgument: one does not fit this model; the weights are as they were before.
        """
        state = tuple((each.key, each.weight) for each in loras if each.weight)
        if state == self._state:
            return
        wanted: dict[tuple[str, str], list[tuple[float, Tensor]]] = {}
        for each in loras:
            if each.weight:
                for target, delta in self._deltas(each):
                    wanted.setdefault(target, []).append((each.weight, delta))
        self._state = ()
        for target in self._changed - wanted.keys():
            self._weight(target).copy_(self._copies[target])
        for target, changes in wanted.items():
            weight = self._weight(target)
            base = self._copies.get(target)
            if base is None:
                base = self._copies[target] = weight.detach().clone()
            total = base.float()
            for factor, delta in changes:
                total = torch.add(total, delta, alpha=factor)
            weight.copy_(total)
        self._changed, self._state = set(wanted), state
        self.texts.clear()

    def remember_text(self, key: Any, text: tuple[Tensor, ...]) -> None:
        """Keep an encoded prompt until the LoRAs change."""
        self.texts[key] = text
        while len(self.texts) > _TEXTS_KEPT:
            self.texts.popitem(last=False)

    def _deltas(self, applied: Applied) -> list[tuple[tuple[str, str], Tensor]]:
        found = []
        for name, factors in self._known(applied).items():
            target = self._names.get(name)
            if target is None:
                raise self._misfit(applied, f"this model has no {name[:100]}")
            try:
                found.append((target, factors.delta(self._original(target))))
            except WrongShape as error:
                raise self._misfit(applied, f"of {name[:100]} {error}") from None
            except (ValueError, RuntimeError, IndexError, ZeroDivisionError):
                raise InvalidArgument(
                    applied.field,
                    f"{applied.lora.label} is damaged: what it has for {name[:100]} does not fit together",
                ) from None
        return found

    def _known(self, applied: Applied) -> dict[str, Factors]:
        """The factors by names of this model; where they are strange, as diffusers converts them for its pipeline."""
        modules = dict(applied.lora.modules)
        if type(self.pipeline).__name__ == "FluxPipeline":
            modules = flux_names.in_parts(modules, self.pipeline.transformer)
        if self.stepwise or all(name in self._names for name in modules):
            return modules
        flat = {
            f"{name}.{kind}": part
            for name, f in applied.lora.modules.items()
            for kind, part in f.parts.items()
        }
        try:
            converted = type(self.pipeline).lora_state_dict(flat)
        except Exception:  # whatever it met, the file is not for this pipeline
            return modules
        found: dict[str, dict[str, Tensor]] = {}
        for key, tensor in (converted[0] if isinstance(converted, tuple) else converted).items():
            name, kind = lora_names.split(key)
            found.setdefault(name, {})[kind] = tensor
        return {name: Factors(parts) for name, parts in found.items()}

    def _misfit(self, applied: Applied, why: str) -> InvalidArgument:
        family = type(self.pipeline).__name__.removesuffix("Pipeline")
        lora = applied.lora
        return InvalidArgument(
            applied.field,
            f"{lora.label} was made for another architecture than {self.entry.name} ({family}); choose the model that "
            f"it was trained on{f', {lora.base}' if lora.base else ''}: {why}",
        )

    def _original(self, target: tuple[str, str]) -> Tensor:
        """The weight as it was read, whatever is merged into it at present."""
        copy = self._copies.get(target)
        return self._weight(target).detach() if copy is None else copy

    def _weight(self, target: tuple[str, str]) -> nn.Parameter:
        part, path = target
        weight = self._modules[part][path].weight
        assert isinstance(weight, nn.Parameter)
        return weight


def load(entry: ModelEntry, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Read a model from its folder in diffusers' layout, or from a single file in that of the original code.

    Raises:
        InvalidArgument: it cannot be read; the message says why.
    """
    try:
        pipeline = (
            _from_file(entry.file, dtype)
            if entry.file.is_file()
            else _from_folder(entry.file, entry.pipeline, dtype)
        )
        pipeline.set_progress_bar_config(disable=True)
        vae = getattr(pipeline, "vae", None)
        if vae is not None and dtype is torch.float16 and getattr(vae.config, "force_upcast", False):
            vae.to(torch.float32)
        return LoadedModel(entry, pipeline.to(device), device)
    except torch.OutOfMemoryError:
        raise
    except InvalidArgument as error:
        raise InvalidArgument("model", error.message.replace(str(entry.file), entry.path)) from None
    except Exception as error:  # diffusers and transformers raise what their parsers meet
        line = str(error).strip().splitlines()
        raise InvalidArgument(
            "model", f"{entry.name} cannot be loaded: {line[0] if line else error!r}"
        ) from None


def _from_folder(folder: Path, name: str, dtype: torch.dtype) -> Any:
    options: dict[str, Any] = {}
    if name == "StableDiffusionPipeline":
        options = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    weights = [path.name for path in folder.rglob("*.safetensors")]
    if weights and all(".fp16." in name for name in weights):
        options["variant"] = "fp16"
    return DiffusionPipeline.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, torch_dtype=dtype, **options
    )


def _from_file(file: Path, dtype: torch.dtype) -> Any:
    facts = model_folder.inspect(file)
    assert facts.layout is not None
    parts = checkpoint.load(file, facts.layout, dtype, with_vae=True)
    scheduler = getattr(diffusers, facts.layout.scheduler["_class_name"]).from_config(facts.layout.scheduler)
    common = {
        "vae": parts.vae,
        "unet": parts.unet,
        "scheduler": scheduler,
        "tokenizer": parts.tokenizers[0],
        "text_encoder": parts.text_encoders[0],
    }
    if facts.family != "sdxl":
        return StableDiffusionPipeline(
            **common, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    return StableDiffusionXLPipeline(
        **common,
        tokenizer_2=parts.tokenizers[1],
        text_encoder_2=parts.text_encoders[1],
        add_watermarker=False,
    )


def release() -> None:
    """Give back the memory of models that nobody refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _weighted(pipeline: Any) -> dict[str, dict[str, nn.Module]]:
    found: dict[str, dict[str, nn.Module]] = {}
    for part in _PARTS:
        module = getattr(pipeline, part, None)
        if isinstance(module, nn.Module):
            found[part] = {
                name: inner
                for name, inner in module.named_modules()
                if isinstance(inner, nn.Linear | nn.Conv2d)
            }
    return found


def _shape(pipeline: Any) -> lora_names.UnetShape | None:
    config = getattr(getattr(pipeline, "unet", None), "config", None)
    if config is None or not isinstance(config.layers_per_block, int):
        return None
    return lora_names.UnetShape(config.layers_per_block)
