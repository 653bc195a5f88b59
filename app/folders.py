"""What lies in the data folder for a form to choose from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from backend.paths import DATASETS, LORAS, MODELS

_REPEATS = re.compile(r"\d+_.+")
_DEEPEST = 3
_MOST = 500


def models(data_dir: Path) -> list[str]:
    """Diffusers folders and safetensors files under `models/`, as the form names them."""
    return _names(data_dir, MODELS, _is_model)


def datasets(data_dir: Path) -> list[str]:
    """Folders under `datasets/` that hold `<repeats>_<name>` folders, as the form names them."""
    return _names(data_dir, DATASETS, _is_dataset)


def loras(data_dir: Path) -> list[str]:
    """LoRA files under `loras/`, as the form names them."""
    return _names(data_dir, LORAS, lambda path: path.suffix == ".safetensors" and path.is_file())


def _is_model(path: Path) -> bool:
    return (path / "model_index.json").is_file() or (path.suffix == ".safetensors" and path.is_file())


def _is_dataset(path: Path) -> bool:
    return path.is_dir() and any(
        _REPEATS.fullmatch(entry.name) and entry.is_dir() for entry in _entries(path)
    )


def _names(data_dir: Path, folder: str, wanted: Callable[[Path], bool]) -> list[str]:
    root = data_dir.resolve()
    found = []
    for path in _walk(root / folder, _DEEPEST, wanted):
        # A link that leaves the data folder would be refused later: it is not offered.
        if path.resolve().is_relative_to(root):
            found.append(str(path.relative_to(root)))
        if len(found) == _MOST:
            break
    return found


def _walk(folder: Path, depth: int, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    for path in _entries(folder):
        if wanted(path):
            yield path
        elif depth > 1 and path.is_dir():
            yield from _walk(path, depth - 1, wanted)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
