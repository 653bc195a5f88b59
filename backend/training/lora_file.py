"""A LoRA file: safetensors with `ss_*` and modelspec metadata, and the two hashes that other programs recompute.

`sshs_model_hash` is the SHA-256 of the data section (all bytes after the header). `sshs_legacy_hash` is the first 8 hex
digits of the SHA-256 of 64 KiB from 1 MiB on, of a serialisation that has only the `ss_*` metadata.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from backend.training.files import write_file

_LEGACY = slice(0x100000, 0x110000)


def write(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write the file with its hashes added to the metadata; the model hash.

    Raises:
        OSError: it cannot be written; nothing is left half.
    """
    content = save(tensors, metadata=dict(metadata))
    data = memoryview(content)[_data_start(content) :]
    model_hash = hashlib.sha256(data).hexdigest()
    hashes = {"sshs_model_hash": model_hash, "sshs_legacy_hash": _legacy_hash(tensors, metadata)}
    header = _header(content, {**metadata, **hashes})
    write_file(path, (struct.pack("<Q", len(header)), header, data))
    return model_hash


def model_hash_of(path: Path) -> str:
    """The SHA-256 of a file's data section, in hex.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too short to be a safetensors file.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError(f"{path} is too short to be a safetensors file")
        file.seek(8 + struct.unpack("<Q", start)[0])
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; raises as `model_hash_of` does."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        metadata = json.loads(file.read(length)).get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()}


def _data_start(content: bytes) -> int:
    (length,) = struct.unpack_from("<Q", content)
    return 8 + int(length)


def _header(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """The header of `content` with other metadata, padded with blanks to the 8 bytes that tensors are aligned to."""
    header = json.loads(content[8 : _data_start(content)])
    header["__metadata__"] = dict(metadata)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def _legacy_hash(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> str:
    own = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    return hashlib.sha256(save(tensors, metadata=own)[_LEGACY]).hexdigest()[:8]
