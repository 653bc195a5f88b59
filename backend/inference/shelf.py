"""Models and LoRAs that are kept in the device's memory, under a budget, and the names that they may be asked by."""

from __future__ import annotations

import time
from collections.abc import Hashable

import torch

from backend.errors import InvalidArgument
from backend.inference import lora_deltas, memory, model
from backend.inference.cache import MemoryCache
from backend.inference.catalog import LoraEntry, ModelEntry
from backend.inference.lora_deltas import LoraFile
from backend.inference.model import LoadedModel

_Kept = LoadedModel | LoraFile


class Shelf:
    """For one thread, but for `loaded` (every name of what is here) and `load_seconds` (of the last base model read, 0
    before the first)."""

    def __init__(self) -> None:
        self.loaded: tuple[str, ...] = ()
        self.load_seconds = 0.0
        self._cache: MemoryCache[_Kept] | None = None
        self._names: dict[Hashable, set[str]] = {}
        self._device: torch.device | None = None

    def has(self, entry: ModelEntry) -> bool:
        """Whether a model need not be read."""
        return self._kept().get(file_key(entry)) is not None

    def model(self, entry: ModelEntry, *, asked: str) -> LoadedModel:
        """A model, read where it is not here; what was used longest ago makes room.

        Raises:
            InvalidArgument: it cannot be read, or is larger than all that may be kept.
        """
        known = self._kept().get(file_key(entry))
        if not isinstance(known, LoadedModel):
            known = self._read(entry)
            self._kept().put(file_key(entry), known)
        self._name(entry, asked)
        return known

    def lora(self, entry: LoraEntry, *, asked: str, field: str) -> LoraFile:
        """A LoRA, read where it is not here; `field` is where the query named it.

        Raises:
            InvalidArgument: it cannot be read.
        """
        known = self._kept().get(file_key(entry))
        if not isinstance(known, LoraFile):
            known = lora_deltas.read(entry.file, field, self._where(), base=entry.base_model)
            self._kept().put(file_key(entry), known)
        self._name(entry, asked)
        return known

    def tidy(self, in_use: LoadedModel | None) -> None:
        """Keep to the budget, whatever has been added; the model in use stays."""
        self._make_room(0, in_use)

    def room_for(self, needed: int, in_use: LoadedModel) -> int:
        """What pictures may take, once what is not in use has made room, where that helps."""
        cache, keep = self._kept(), self._keys_of(in_use)
        there = memory.free(self._where(), cache.size)
        most = there + cache.size - _size(in_use)
        if most < needed:
            return most
        while there < needed and cache.drop_oldest(keep=keep) is not None:
            model.release()
            self._note()
            there = memory.free(self._where(), cache.size)
        return there

    def clear(self) -> None:
        """Give everything back."""
        self._kept().clear()
        model.release()
        self._note()

    def _read(self, entry: ModelEntry) -> LoadedModel:
        self._make_room(entry.size, None)
        budget = self._kept().budget
        if entry.size > budget:
            raise InvalidArgument(
                "model",
                f"{entry.name} has {entry.size / 2**30:.1f} GB, more than the {budget / 2**30:.1f} GB "
                f"that models may take here ({memory.BUDGET})",
            )
        device = self._where()
        began = time.monotonic()
        found = model.load(entry, device, torch.float16 if device.type == "cuda" else torch.float32)
        self.load_seconds = time.monotonic() - began
        return found

    def _name(self, entry: ModelEntry | LoraEntry, asked: str) -> None:
        self._names.setdefault(file_key(entry), set()).update((entry.name, entry.path, asked))

    def _make_room(self, needed: int, in_use: LoadedModel | None) -> None:
        if self._kept().make_room(needed, keep=self._keys_of(in_use)):
            model.release()
        self._note()

    def _keys_of(self, in_use: LoadedModel | None) -> set[Hashable]:
        return {key for key, value in self._kept().items() if value is in_use}

    def _note(self) -> None:
        kept = {key for key, _ in self._kept().items()}
        self._names = {key: names for key, names in self._names.items() if key in kept}
        self.loaded = tuple(sorted({name for names in self._names.values() for name in names}))

    def _kept(self) -> MemoryCache[_Kept]:
        if self._cache is None:
            self._cache = MemoryCache(memory.budget(self._where()), _size)
        return self._cache

    def _where(self) -> torch.device:
        if self._device is None:
            self._device = memory.device()
        return self._device


def file_key(entry: ModelEntry | LoraEntry) -> Hashable:
    """What a file is known by; one that was written anew is another."""
    index = entry.file / "model_index.json"
    state = (index if index.is_file() else entry.file).stat()
    return str(entry.file), state.st_mtime_ns, entry.size


def _size(kept: _Kept) -> int:
    return kept.size + (kept.kept if isinstance(kept, LoadedModel) else 0)
