"""A LoRA file: what is in it, whether it is whole, and the form that trains again like it. Reads the header alone.

safetensors: 8 bytes with the header's length (little endian), the header as JSON, the tensors' bytes.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidInput
from backend.inference.lora_names import PARTS
from backend.paths import DATASETS, MODELS
from kohya_adapter.form import Loaded
from kohya_adapter.metadata_import import dataset_folders, form_of_metadata, model_name

_LONGEST_HEADER = 100 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's type (as safetensors names it), its shape, and where its bytes stand behind the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LoraFile:
    """The header of a file. `data_start` is the first byte behind it."""

    path: Path
    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    data_start: int

    @property
    def rank(self) -> int | None:
        """The rank of most modules, from the shapes themselves; None when there is no plain LoRA in it."""
        ranks = [
            t.shape[0] for name, t in self.tensors.items() if name.endswith("lora_down.weight") and t.shape
        ]
        return max(set(ranks), key=ranks.count) if ranks else None

    @property
    def modules(self) -> dict[str, int]:
        """Part of the model -> how many of its layers have a LoRA."""
        names = {name.partition(".")[0] for name in self.tensors}
        counts = {part: sum(name.startswith(prefix) for name in names) for prefix, part in PARTS.items()}
        return {part: count for part, count in counts.items() if count}

    @property
    def recorded_hash(self) -> str | None:
        """The hash of the tensors that the trainer wrote into the metadata."""
        return self.metadata.get("sshs_model_hash")

    def data_hash(self) -> str:
        """SHA-256 of everything behind the header, in hexadecimal: what `sshs_model_hash` records."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(self.data_start)
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def is_intact(self) -> bool | None:
        """Whether the tensors are those that were saved; None when the file records no hash."""
        return None if self.recorded_hash is None else self.recorded_hash == self.data_hash()


def read_lora(path: Path) -> LoraFile:
    """The header of a safetensors file.

    Raises:
        InvalidInput: the file cannot be read, is no safetensors file, or is cut short.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
                raise InvalidInput(f"{path.name} is not a safetensors file, or only a part of one.")
            header = json.loads(file.read(length))
        tensors = {name: _tensor(value) for name, value in header.items() if name != "__metadata__"}
        metadata = {str(key): str(value) for key, value in (header.get("__metadata__") or {}).items()}
    except OSError as error:
        raise InvalidInput(f"{path.name} cannot be read: {error.strerror or error}.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InvalidInput(f"{path.name} has a header that is not one of a safetensors file.") from None
    data_start = 8 + length
    if any(not 0 <= tensor.start <= tensor.end <= size - data_start for tensor in tensors.values()):
        raise InvalidInput(f"{path.name} is cut short; copy it again.")
    return LoraFile(path, metadata, tensors, data_start)


def form_of_lora(path: Path, data_dir: Path | None = None) -> Loaded:
    """The form that trains again like this file, from the `ss_*` metadata that its trainer wrote.

    Given a data folder, the base model and the pictures are looked for there by the names that the file has for them.

    Raises:
        InvalidInput: it cannot be read, or holds no training settings.
    """
    lora = read_lora(path)
    if "ss_network_module" not in lora.metadata:
        raise InvalidInput(f"{path.name} does not say how it was trained: it has no training metadata.")
    loaded = form_of_metadata(lora.metadata, parts=frozenset(lora.modules))
    if data_dir is None:
        return loaded
    found = {
        "pretrained_model_name_or_path": _found_model(data_dir, model_name(lora.metadata)),
        "train_data_dir": _found_dataset(data_dir, set(dataset_folders(lora.metadata))),
    }
    return Loaded(loaded.form.replace({key: name for key, name in found.items() if name}), loaded.warnings)


def _found_model(data_dir: Path, name: str) -> str:
    candidate = data_dir / MODELS / Path(name).name
    return f"{MODELS}/{candidate.name}" if name and candidate.exists() else ""


def _found_dataset(data_dir: Path, folders: set[str]) -> str:
    """The first folder, up to two levels below the datasets, that has all these image folders."""
    root = data_dir / DATASETS
    for parent in sorted((*root.glob("*"), *root.glob("*/*"))):
        if folders and parent.is_dir() and folders <= {child.name for child in parent.iterdir()}:
            return parent.relative_to(data_dir).as_posix()
    return ""


def _tensor(value: Mapping[str, object]) -> Tensor:
    shape, offsets = value["shape"], value["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise TypeError
    start, end = offsets
    return Tensor(str(value["dtype"]), tuple(map(int, shape)), int(start), int(end))
