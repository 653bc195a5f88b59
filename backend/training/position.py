"""Where a saved run is, as its state folder says. Imports no torch: a bad `resume` is known before anything loads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import InvalidArgument
from backend.training.items import Item
from backend.training.lost_state import STATE_FILE, explain

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run is: optimizer steps done, the epoch it is in, its seed, recent losses, and what it trains on.

    `batches_per_epoch` and `data` (a digest) tell whether the data are still the same.
    """

    current_step: int
    current_epoch: int
    seed: int
    batches_per_epoch: int
    data: str
    losses: tuple[float, ...]
    scaler: dict[str, Any]


def encode(position: Position) -> bytes:
    """The content of the file."""
    return json.dumps({"version": _VERSION, **dataclasses.asdict(position)}).encode()


def read(folder: Path) -> Position:
    """Where the state was saved.

    Raises:
        InvalidArgument: it is not there any more, is no state folder of this trainer, or cannot be read.
    """
    if not folder.exists():
        raise InvalidArgument("resume", explain(folder))
    try:
        facts = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        if facts.pop("version") != _VERSION:
            raise KeyError("version")
        return Position(**{**facts, "losses": tuple(facts["losses"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument(
            "resume", f"{folder} is not a state folder of the built-in trainer ({error!r}); start without it"
        ) from None


def data_digest(items: list[Item], batch_sizes: list[int]) -> str:
    """A digest of what is shown in which batch: names, captions, buckets, repeats."""
    rows = [
        (item.picture.path.name, item.picture.caption, item.dataset, repr(item.placement), item.copies)
        for item in items
    ]
    return hashlib.blake2b(repr((rows, batch_sizes)).encode(), digest_size=16).hexdigest()
