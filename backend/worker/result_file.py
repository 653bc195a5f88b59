"""The LoRA that a training leaves: where its command line says it will be, and where everybody finds it afterwards."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from pathlib import Path

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def promised(argv: tuple[str, ...], folder: Path) -> Path | None:
    """The file that a training's command line and its `--config_file` promise; None when they name none.

    Relative paths start at `folder`, where the training runs.
    """
    values: dict[str, str] = {}
    for position, word in enumerate(argv):
        name, equals, inline = word.partition("=")
        if name in ("--output_dir", "--output_name", "--config_file", "--save_model_as"):
            values[name[2:]] = inline if equals else argv[position + 1] if position + 1 < len(argv) else ""
    if "config_file" in values:
        try:
            config = tomllib.loads(Path(folder, values["config_file"]).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            config = {}
        flat = {
            **config,
            **{k: v for part in config.values() if isinstance(part, dict) for k, v in part.items()},
        }
        values = {k: str(v) for k, v in flat.items() if k.startswith(("output_", "save_model_as"))} | values
    if not values.get("output_dir"):
        return None
    suffix = values.get("save_model_as") or "safetensors"
    return Path(folder, values["output_dir"], f"{values.get('output_name') or 'last'}.{suffix}")


def published(output: Path, folder: Path, task_id: str) -> Path:
    """The finished LoRA under `loras/`, named so that no two tasks meet; a link where the file system allows."""
    folder.mkdir(exist_ok=True)
    mark = task_id[:8] if _UUID.fullmatch(task_id) else task_id
    target = folder / f"{output.stem}-{mark}{output.suffix}"
    target.unlink(missing_ok=True)
    try:
        os.link(output, target)
    except OSError:
        shutil.copyfile(output, target)
    return target
