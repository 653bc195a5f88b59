"""One seed, many independent streams of chance.

Everything random in a run comes from a generator made of the run's seed and of what it is for (a step, an epoch, a
picture), never from a stream that runs on. So a run that is resumed at step 700 meets the same noise as one that never
stopped, and drawing a sample picture in between changes nothing.
"""

from __future__ import annotations

import hashlib
import secrets

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed below 2**63 for one purpose; equal inputs give equal seeds on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose, so that noise does not depend on the device."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def draw() -> int:
    """A seed for a run that was given none; short enough to be typed again."""
    return secrets.randbelow(2**32)
