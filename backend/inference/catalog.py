"""Models and LoRAs of the data folder, and what a name in a query means. Reads headers at most; knows no torch."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import paths, samples
from backend.errors import InvalidArgument, InvalidInput, PathOutsideDataFolder
from backend.views import LoraView, ModelView

_WEIGHTS = ".safetensors"
_LISTED = 30
_LONGEST_HEADER = 100 << 20
_MARK = re.compile(r"-([0-9a-f]{8})$")
"""How the name of a published LoRA ends: the beginning of its task's id (see `worker.result_file.published`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry(ModelView):
    """A base model and where it lies. `path` is relative to the data folder."""

    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraEntry(LoraView):
    """A LoRA file and where it lies. `path` is relative to the data folder."""

    file: Path


class Catalog:
    """What a data folder has to draw with. Looks anew each time: a training may just have ended."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir.resolve()

    def models(self) -> list[ModelEntry]:
        """Every base model, by name; the one that comes with lorapool is there unless another has its name."""
        folder = self._root / paths.MODELS
        found = {entry.name: entry for file in _children(folder) if (entry := self._model(file)) is not None}
        shipped = self._model(samples.MODEL)
        if shipped is not None:
            found.setdefault(shipped.name, shipped)
        return sorted(found.values(), key=lambda entry: entry.name)

    def loras(self) -> list[LoraEntry]:
        """Every LoRA of `loras/`, newest first."""
        found: list[LoraEntry] = []
        for file in self._lora_files():
            with contextlib.suppress(OSError):  # removed meanwhile
                found.append(self._lora(file))
        return found

    def _lora_files(self) -> list[Path]:
        """The files of `loras/`, newest first; their headers are not read for this."""
        found: list[tuple[float, str, Path]] = []
        for file in (self._root / paths.LORAS).rglob(f"*{_WEIGHTS}"):
            with contextlib.suppress(OSError):  # removed meanwhile
                state = file.stat()
                if stat.S_ISREG(state.st_mode):
                    found.append((-state.st_mtime, file.name, file))
        return [file for *_, file in sorted(found)]

    def _in_loras(self, file: Path) -> str:
        return file.relative_to(self._root / paths.LORAS).as_posix().removesuffix(_WEIGHTS)

    def model(self, name: str) -> ModelEntry:
        """The model that a query names; '' means the only one there is.

        Raises:
            InvalidArgument: there is no such model; the message has the names of those that there are.
        """
        known = self.models()
        if not name:
            own = [entry for entry in known if entry.file != samples.MODEL] or known
            if len(own) == 1:
                return own[0]
            raise InvalidArgument("model", f"is needed; there are {_names(e.name for e in known)}")
        for entry in known:
            if name in (entry.name, entry.path):
                return entry
        if "/" in name and (given := self._model(self._confined(name, "model"))) is not None:
            return given
        raise InvalidArgument("model", _unknown("model", name, [entry.name for entry in known], paths.MODELS))

    def lora(self, name: str, field: str) -> LoraEntry:
        """The LoRA that a query names: a file of `loras/` or of a folder there (or the newest whose name goes on with a
        task's mark), else a path in the data folder.

        Raises:
            InvalidArgument: there is no such LoRA; the message has the names of those that there are.
        """
        known = self._lora_files()
        plain = name.removesuffix(_WEIGHTS)
        for file in known:
            if plain in (file.stem, self._in_loras(file), self._relative(file).removesuffix(_WEIGHTS)):
                return self._lora(file)
        for file in known:
            stem, dash, mark = file.stem.rpartition("-")
            if dash and stem == plain and len(mark) == 8:
                return self._lora(file)
        if "/" in name:
            file = self._confined(plain + _WEIGHTS, field)
            if file.is_file():
                return self._lora(file)
        if name.startswith(f"{paths.JOBS}/"):
            raise InvalidArgument(
                field,
                f"{name[:200]!r} is not there: its job has been deleted with its files, or never wrote it",
            )
        raise InvalidArgument(
            field, _unknown("LoRA", name, [self._in_loras(file) for file in known], paths.LORAS)
        )

    def _confined(self, name: str, field: str) -> Path:
        try:
            return paths.confined(self._root, name, field=field)
        except PathOutsideDataFolder:
            raise InvalidArgument(
                field, f"{name[:100]!r} lies outside the data folder; nothing was read there"
            ) from None

    def _model(self, file: Path) -> ModelEntry | None:
        index = file / "model_index.json"
        if index.is_file():
            try:
                pipeline = str(json.loads(index.read_text(encoding="utf-8")).get("_class_name", ""))
            except (OSError, ValueError, AttributeError):
                return None
            size = sum(part.stat().st_size for part in file.rglob("*") if part.is_file())
            return ModelEntry(file.name, self._relative(file), pipeline, size, file=file)
        if file.suffix == _WEIGHTS and file.is_file():
            return ModelEntry(file.stem, self._relative(file), "", file.stat().st_size, file=file)
        return None

    def _lora(self, file: Path) -> LoraEntry:
        state = file.stat()
        try:
            header = read_header(file)
        except InvalidInput:
            header = {}
        metadata = header.get("__metadata__")
        said = {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}
        return LoraEntry(
            file.stem,
            self._relative(file),
            state.st_size,
            state.st_mtime,
            file=file,
            rank=_rank(header),
            base_model=Path(said.get("ss_sd_model_name", "")).name,
            task=self._task(file),
            epoch=_number(said.get("ss_epoch")),
            steps=_number(said.get("ss_steps")),
        )

    def _task(self, file: Path) -> str:
        """The task whose folder it lies in, or whose mark the name of a finished one ends with; '' when neither."""
        parts = self._relative(file).split("/")
        if parts[0] == paths.JOBS:
            return parts[1] if len(parts) > 2 else ""
        mark = _MARK.search(file.stem)
        found = list((self._root / paths.JOBS).glob(f"{mark[1]}-*")) if mark else []
        return found[0].name if len(found) == 1 else ""

    def _relative(self, file: Path) -> str:
        try:
            return file.relative_to(self._root).as_posix()
        except ValueError:
            return f"{paths.MODELS}/{file.name}"  # what comes with lorapool, as if it were installed


def native_side(entry: ModelEntry) -> int | None:
    """The side in pixels that a model folder was made for; None when its files do not say so."""
    try:
        unet, vae = (
            json.loads((entry.file / part / "config.json").read_text(encoding="utf-8"))
            for part in ("unet", "vae")
        )
        return int(unet["sample_size"]) << (len(vae["block_out_channels"]) - 1)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_header(file: Path) -> Mapping[str, Any]:
    """The JSON header of a safetensors file.

    Raises:
        InvalidInput: it is no safetensors file, or cut short.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
                raise InvalidInput(f"{file.name} is no whole safetensors file; copy it again")
            header = json.loads(opened.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        if 8 + length + max(ends, default=0) > size:
            raise InvalidInput(f"{file.name} is cut short; copy it again")
    except OSError as error:
        raise InvalidInput(f"{file.name} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise InvalidInput(f"{file.name} is no safetensors file") from None
    return dict(header)


def _rank(header: Mapping[str, Any]) -> int | None:
    shapes = [value.get("shape") for key, value in header.items() if key.endswith("lora_down.weight")]
    downs = [shape[0] for shape in shapes if isinstance(shape, list) and shape]
    return max(set(downs), key=downs.count) if downs else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _children(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield file
        if file.is_dir() and not (file / "model_index.json").is_file():
            yield from sorted(file.glob(f"*{_WEIGHTS}"))


def _names(names: Any) -> str:
    known = list(names)
    return ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")


def _unknown(kind: str, name: str, known: list[str], folder: str) -> str:
    shown = name if len(name) <= 100 else f"{name[:97]}..."
    if not known:
        return f"there is no {kind} {shown!r}: {folder}/ of the data folder is empty"
    close = difflib.get_close_matches(shown, known, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"there is no {kind} {shown!r}. {hint}{folder}/ has {_names(known)}."
