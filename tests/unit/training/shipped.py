"""The base model that ships with the project."""

from __future__ import annotations

from pathlib import Path

import backend.samples

MODEL = Path(backend.samples.__file__).parent / "tiny-shapes"
