"""The command line of the tools. Every path is confined to the data folder. No torch."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from backend import paths
from backend.errors import Conflict, InvalidArgument

TOOLS = ("verify", "resize", "merge", "grid")
METHODS = ("fixed", "sv_fro", "sv_ratio", "sv_cumulative")
PRECISIONS = {"keep": None, "float": "float32", "fp16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class Files:
    """Finds files that exist, and places for new ones, in one data folder."""

    data_dir: Path

    def existing(self, text: str, field: str) -> Path:
        """A file; a bare name is looked for in `loras/`, too, also without the task's mark: the newest one then.

        Raises:
            InvalidArgument: there is none.
            PathOutsideDataFolder: it lies elsewhere.
        """
        for candidate in (text, f"{paths.LORAS}/{text}", f"{paths.LORAS}/{text}.safetensors"):
            path = paths.confined(self.data_dir, candidate, field=field)
            if path.is_file():
                return path
        marked = [] if "/" in text else self._marked(text)
        if marked:
            return paths.confined(
                self.data_dir, max(marked, key=lambda path: path.stat().st_mtime), field=field
            )
        raise InvalidArgument(field, f"there is no file {text[:200]} in the data folder")

    def _marked(self, name: str) -> list[Path]:
        """LoRAs of tasks, published as `<name>-<first 8 characters of the task's id>`."""
        found = (self.data_dir / paths.LORAS).glob("*.safetensors")
        mark = re.compile(re.escape(name) + "-[0-9a-f]{8}")
        return [path for path in found if mark.fullmatch(path.stem) and path.is_file()]

    def new(self, text: str, *, default: str, overwrite: bool) -> Path:
        """Where a file is to be written; a bare name goes into `loras/`.

        Raises:
            Conflict: there is one already.
            PathOutsideDataFolder: it lies elsewhere.
        """
        name = text or default
        if "/" not in name:
            name = f"{paths.LORAS}/{name}"
        path = paths.confined(self.data_dir, name, field="output")
        suffix = Path(default).suffix
        if path.suffix != suffix:
            path = path.with_name(path.name + suffix)
        if path.exists() and not overwrite:
            raise Conflict(
                f"{path.name} exists already and was not changed; choose another --output, or --overwrite."
            )
        return path

    def shown(self, path: Path) -> str:
        """A path as a person would name it."""
        return path.relative_to(self.data_dir.resolve()).as_posix()


def data_folder() -> Path:
    """The data folder of the task that this runs in."""
    return Path(os.environ.get("LORAPOOL_DATA_DIR", "data"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidArgument("arguments", message)


def parser() -> argparse.ArgumentParser:
    """The parser; `tool` says which one was named."""
    top = _Parser(prog="python -m backend.tools", description="Tools for LoRA files of the data folder.")
    tools = top.add_subparsers(dest="tool", required=True)
    verify = tools.add_parser("verify", help="is a file whole, finite, and what it says it is?")
    verify.add_argument("loras", nargs="+")
    resize = tools.add_parser("resize", help="the same LoRA at another rank")
    resize.add_argument("lora")
    _ranks(resize, required=True)
    merge = tools.add_parser("merge", help="several LoRAs as one")
    merge.add_argument("loras", nargs="+", help="FILE or FILE=RATIO; the ratio is 1 unless given")
    _ranks(merge, required=False)
    _grid(tools.add_parser("grid", help="prompts × checkpoints on one sheet"))
    return top


def _ranks(tool: argparse.ArgumentParser, *, required: bool) -> None:
    tool.add_argument("--rank", type=int, required=required, help="the rank; with a dynamic method the most")
    tool.add_argument("--conv-rank", type=int, help="that of 3×3 convolutions; the same unless given")
    tool.add_argument("--method", choices=METHODS, default="fixed")
    tool.add_argument("--parameter", type=float, default=0.9, help="of the dynamic method")
    tool.add_argument("--precision", choices=sorted(PRECISIONS), default="keep")
    tool.add_argument("--output", default="", help="the new file, in loras/ unless it names a folder")
    tool.add_argument("--overwrite", action="store_true")


def _grid(tool: argparse.ArgumentParser) -> None:
    tool.add_argument("loras", nargs="*", help="checkpoints, in this order")
    tool.add_argument("--task", default="", help="all checkpoints of a training, by its task id")
    tool.add_argument("--model", default="", help="the base model; by default the one that the LoRAs name")
    tool.add_argument("--prompt", action="append", default=[], help="with sd-scripts' options, such as --d 5")
    tool.add_argument("--prompts", default="", help="a file of prompts; by default those of the task")
    tool.add_argument("--weight", type=float, default=1.0)
    tool.add_argument("--without-base", action="store_true", help="leave out the column without a LoRA")
    tool.add_argument("--output", default="", help="the picture; by default in the folder of the task")
    tool.add_argument("--overwrite", action="store_true")


def with_ratio(text: str) -> tuple[str, float]:
    """`FILE=RATIO` taken apart.

    Raises:
        InvalidArgument: the ratio is no number.
    """
    name, equals, ratio = text.rpartition("=")
    if not equals:
        return text, 1.0
    try:
        return name, float(ratio)
    except ValueError:
        raise InvalidArgument("loras", f"the ratio of {name} is no number: {ratio!r}") from None
