"""`python -m backend.tools TOOL …`: one LoRA tool in the data folder of `LORAPOOL_DATA_DIR`."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import InvalidArgument, InvalidInput, LorapoolError
from backend.paths import JOBS, confined
from backend.records import Failed, FileWritten, Phase, Result
from backend.tools import voice
from backend.tools.arguments import PRECISIONS, Files, data_folder, parser, with_ratio

if TYPE_CHECKING:
    import torch

    from backend.tools.lora import Module
    from backend.tools.resize import Resized


def main(argv: Sequence[str]) -> int:
    """Run one tool; its exit code. Errors are one line, never a traceback."""
    try:
        wanted = parser().parse_args(argv)
        return _TOOLS[wanted.tool](wanted, Files(data_folder()))
    except LorapoolError as error:
        return _failed(str(error), 2 if isinstance(error, InvalidInput) else 1)
    except OSError as error:
        return _failed(f"{error.filename or 'a file'} could not be written: {error.strerror or error}", 1)


def _failed(reason: str, code: int) -> int:
    voice.record(Failed(reason))
    print(f"error: {reason}", file=sys.stderr, flush=True)
    return code


def _verify(wanted: argparse.Namespace, files: Files) -> int:
    from backend.tools import verify

    paths = [files.existing(text, "loras") for text in wanted.loras]
    bad = []
    for number, path in enumerate(paths, start=1):
        found = verify.verify(path)
        for text in found.lines():
            voice.line(text)
        bad += [f"{found.name}: {fault}" for fault in found.faults]
        voice.progress(number, len(paths))
    if bad:
        return _failed("; ".join(bad[:3]), 1)
    voice.line("good" if len(paths) == 1 else f"all {len(paths)} are good")
    return 0


def _resize(wanted: argparse.Namespace, files: Files) -> int:
    from backend.tools import lora, resize

    path = files.existing(wanted.lora, "lora")
    output = files.new(
        wanted.output, default=f"{path.stem}-rank{wanted.rank}.safetensors", overwrite=wanted.overwrite
    )
    source = lora.read(path)
    kept: list[float] = []

    def on_module(done: int, total: int, name: str, resized: Resized) -> None:
        kept.append(resized.kept)
        _tell_module(done, total, name, resized)

    rank = resize.Wanted(wanted.rank, wanted.conv_rank, wanted.method, wanted.parameter)
    modules, metadata = resize.resize(source, rank, on_module)
    voice.line(
        f"kept {min(kept):.1%} to {max(kept):.1%} of the norms, {sum(kept) / len(kept):.1%} on average"
    )
    return _written(wanted, files, output, modules, metadata, source.dtype)


def _merge(wanted: argparse.Namespace, files: Files) -> int:
    from backend.tools import lora, merge, resize

    parts = [with_ratio(text) for text in wanted.loras]
    output = files.new(wanted.output, default="merged.safetensors", overwrite=wanted.overwrite)
    loras = [(lora.read(files.existing(name, "loras")), ratio) for name, ratio in parts]
    if wanted.rank is None and wanted.method != "fixed":
        raise InvalidArgument("rank", f"{wanted.method} needs one: the most that it may choose")
    rank = None
    if wanted.rank is not None:
        rank = resize.Wanted(wanted.rank, wanted.conv_rank, wanted.method, wanted.parameter)
    modules, metadata = merge.merge(loras, rank, _tell_module)
    return _written(wanted, files, output, modules, metadata, loras[0][0].dtype)


def _tell_module(done: int, total: int, name: str, resized: Resized) -> None:
    if done == total or done % 10 == 0:
        voice.progress(done, total)
    if resized.kept < 1.0:
        voice.line(f"{name}: rank {resized.module.rank}, {resized.kept:.1%} of its norm")


def _written(
    wanted: argparse.Namespace,
    files: Files,
    output: Path,
    modules: Mapping[str, Module],
    metadata: Mapping[str, str],
    dtype: torch.dtype,
) -> int:
    import torch

    from backend.tools import lora

    name = PRECISIONS[wanted.precision]
    digest = lora.write(output, modules, metadata, getattr(torch, name) if name else dtype)
    voice.line(f"wrote {files.shown(output)}, hash {digest[:10]}")
    voice.record(FileWritten("lora", str(output)))
    voice.record(Result(str(output)))
    return 0


def _grid(wanted: argparse.Namespace, files: Files) -> int:
    from backend.tools import grid
    from backend.training import prompts as prompt_files
    from backend.training.files import write_file

    checkpoints = [files.existing(text, "loras") for text in wanted.loras]
    folder = confined(files.data_dir, f"{JOBS}/{wanted.task}", field="task") if wanted.task else None
    if folder is not None:
        checkpoints += sorted((folder / "output").glob("*.safetensors"))
    if not checkpoints:
        raise InvalidArgument("loras", "name checkpoints, or a --task that has made some")
    output = files.new(
        wanted.output or (f"{JOBS}/{wanted.task}/grid.png" if wanted.task else ""),
        default="grid.png",
        overwrite=wanted.overwrite or bool(wanted.task),
    )
    prompts = [prompt_files.parse_line(text) for text in wanted.prompt]
    if wanted.prompts:
        prompts += prompt_files.read(files.existing(wanted.prompts, "prompts"))
    elif not prompts and folder is not None:
        prompts += prompt_files.read(folder / "prompts.txt")
    if not prompts:
        raise InvalidArgument("prompt", "give one or more, as --prompt or in a file as --prompts")
    columns = grid.columns(checkpoints, files.shown)
    if not wanted.without_base:
        columns = [grid.Column("base model"), *columns]
    model = wanted.model or grid.base_model(checkpoints)
    voice.record(Phase("drawing"))
    rows = grid.draw(files.data_dir, model, prompts, columns, wanted.weight, voice.progress)
    labels = [column.label for column in columns]
    buffer = io.BytesIO()
    grid.sheet([prompt.prompt for prompt in prompts], labels, rows).save(buffer, "PNG")
    write_file(output, (buffer.getvalue(),))
    voice.line(
        f"wrote {files.shown(output)}: {len(prompts)} prompts × {json.dumps(labels, ensure_ascii=False)}"
    )
    voice.record(FileWritten("sample", str(output), label="checkpoint grid"))
    voice.record(Result(str(output)))
    return 0


_TOOLS = {"verify": _verify, "resize": _resize, "merge": _merge, "grid": _grid}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
