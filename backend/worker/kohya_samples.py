"""The sample pictures of an sd-scripts run, which never says where they went."""

from __future__ import annotations

import re
from pathlib import Path

from backend.records import FileWritten, Progress, Record

_SAMPLE_FILE = re.compile(r"_(\d{2,})_\d{14}(?:_-?\d+)?\.png$")


class SampleFolder:
    """The folder is looked at when a picture must be there. `prompts` are those of the pictures to come."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen = set(self._listed())
        self.prompts: list[str] = []

    def _listed(self) -> list[Path]:
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted(self._folder.glob("*.png"))

    def new(self, progress: Progress, epoch: tuple[int, int] | None) -> list[Record]:
        """The pictures that were not there before."""
        found = [path for path in self._listed() if path not in self._seen]
        self._seen.update(found)
        epoch_now = epoch[0] if epoch else None
        return [
            FileWritten("sample", str(path), progress.step, epoch_now, self._prompt(path)) for path in found
        ]

    def _prompt(self, path: Path) -> str | None:
        number = _SAMPLE_FILE.search(path.name)
        index = int(number[1]) if number else len(self.prompts)
        return self.prompts[index] if index < len(self.prompts) else None
