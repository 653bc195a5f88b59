"""What a drawn query is answered with: pictures with their parameters in them, as base64 or as files with links."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from backend import links
from backend.errors import InvalidInput
from backend.inference import catalog, drawing, pictures, schedulers
from backend.inference.pictures import Infotext
from backend.inference.ticket import Ticket
from backend.training.files import write_file

RESULT = "result.json"
"""The answer without its links, beside the pictures: the gateway makes fresh links from it."""


def answer(ticket: Ticket, seconds: float, *, data_dir: Path, task: str) -> dict[str, Any]:
    """The JSON of the answer; with `output: file` the pictures and the answer itself lie in `outputs/<task>/` then.

    Raises:
        OSError: the files cannot be written.
    """
    drawn = ticket.drawn
    assert drawn is not None
    found = drawing.images(drawn) if isinstance(drawn, Tensor) else drawn
    files = [pictures.png(image, _infotext(ticket, n, image)) for n, image in enumerate(found)]
    said: dict[str, Any] = {
        "images": [],
        "seeds": list(ticket.seeds),
        "seconds": round(seconds, 3),
        "parameters": _parameters(ticket, found[0]),
    }
    if ticket.request.output == "base64":
        return said | {"images": [base64.b64encode(file).decode() for file in files]}
    names = [f"{n:02d}.png" for n in range(len(files))]
    folder = data_dir / links.OUTPUTS / task
    for name, file in zip(names, files, strict=True):
        write_file(folder / name, (file,))
    said["files"] = [f"{links.OUTPUTS}/{task}/{name}" for name in names]
    write_file(folder / RESULT, (json.dumps(said, ensure_ascii=False).encode(),))
    return linked(said, data_dir)


def linked(said: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    """An answer with fresh links to its files."""
    secret = links.key(data_dir)
    own = [str(file).removeprefix(f"{links.OUTPUTS}/") for file in said.get("files", ())]
    return {**said, "images": [links.link(secret, file) for file in own]}


def _parameters(ticket: Ticket, image: Image.Image) -> dict[str, Any]:
    filled = {
        "model": ticket.entry.path,
        "seed": ticket.seeds[0],
        "width": image.width,
        "height": image.height,
        "loras": [{"name": each.entry.path, "weight": each.weight} for each in ticket.loras],
    }
    return ticket.request.parameters() | filled


def _infotext(ticket: Ticket, place: int, image: Image.Image) -> Infotext:
    request = ticket.request
    return Infotext(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        steps=request.steps,
        sampler=schedulers.label(request.scheduler, ticket.scheduler),
        guidance=request.guidance,
        seed=ticket.seeds[place],
        width=image.width,
        height=image.height,
        model=ticket.entry.name,
        loras=[(each.entry.name, each.weight) for each in ticket.loras],
        hashes=_hashes([each.entry.file for each in ticket.loras]),
        strength=request.strength if request.image is not None else None,
        clip_skip=request.clip_skip,
    )


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    """The first 12 digits of each file's model hash, as the web UI shows them; else of the hash of all its bytes.

    One that has been removed since it was drawn with has none: the pictures are wanted all the same.
    """
    found: dict[str, str] = {}
    for file in files:
        with contextlib.suppress(OSError, InvalidInput):
            metadata = catalog.read_header(file).get("__metadata__")
            said = metadata.get("sshs_model_hash") if isinstance(metadata, dict) else None
            if not isinstance(said, str):
                with file.open("rb") as opened:
                    said = hashlib.file_digest(opened, "sha256").hexdigest()
            found[file.stem] = said[:12]
    return found


def problem(error: Exception) -> dict[str, Any]:
    """An error as JSON, in the form of the control API."""
    said = {"error": type(error).__name__, "message": getattr(error, "message", str(error))}
    field = getattr(error, "field", None)
    return said | ({"field": field} if field else {})
