"""What a training's command line says about its files, and where everybody finds its LoRA afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FOR_ALL = 0o444


def options(argv: Sequence[str], folder: Path, names: Collection[str]) -> Mapping[str, str]:
    """The values of some options of a training, from its command line and its `--config_file`.

    As in sd-scripts, sections of the file are flattened and the command line beats it. A relative path of the file
    starts at `folder`, where the training runs.
    """
    given: dict[str, str] = {}
    for position, word in enumerate(argv):
        name, equals, inline = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in {*names, "config_file"}:
            given[name] = inline if equals else argv[position + 1] if position + 1 < len(argv) else ""
    file = given.pop("config_file", "")
    config = _flat(Path(folder, file)) if file else {}
    return {name: value for name, value in config.items() if name in names} | given


def _flat(file: Path) -> dict[str, str]:
    try:
        config = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    sections = [part for part in config.values() if isinstance(part, dict)]
    return {name: str(value) for part in (config, *sections) for name, value in part.items()}


def promised(argv: Sequence[str], folder: Path) -> Path | None:
    """The file that a training's command line promises; None when it names none."""
    values = options(argv, folder, ("output_dir", "output_name", "save_model_as"))
    if not values.get("output_dir"):
        return None
    suffix = values.get("save_model_as") or "safetensors"
    return Path(folder, values["output_dir"], f"{values.get('output_name') or 'last'}.{suffix}")


def share(path: Path) -> None:
    """Let everybody read a file that a run has made: safetensors 0.8 makes files for their owner alone."""
    with contextlib.suppress(OSError):
        mode = path.stat().st_mode
        if path.is_file() and mode & _FOR_ALL != _FOR_ALL:
            path.chmod(mode | _FOR_ALL)


def mark_of(task_id: str) -> str:
    """How the name of a finished LoRA ends: the beginning of its task's id, where that is one of ours."""
    return task_id[:8] if _UUID.fullmatch(task_id) else task_id


def published(output: Path, folder: Path, task_id: str) -> Path:
    """The finished LoRA under `loras/`, named so that no two tasks meet; a link where the file system allows."""
    folder.mkdir(exist_ok=True)
    target = folder / f"{output.stem}-{mark_of(task_id)}{output.suffix}"
    target.unlink(missing_ok=True)
    share(output)
    try:
        os.link(output, target)
    except OSError:
        shutil.copyfile(output, target)
    return target
