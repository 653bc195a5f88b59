"""What files come from and go to: an object store, or the gateway of a deployment whose data folder is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from backend.storage.objects import Came, Part, Remote


class Unwanted(Exception):
    """The source has no use for this file: it belongs to an attempt that another one has overtaken."""


class Source(Protocol):
    """Safe to share between threads. Every call is one attempt; who calls decides whether to repeat it.

    `leads`: files here are copies of those of the source. What it has otherwise replaces what is here, what was sent
    may go when room is needed, and what a run removes is removed there, too.
    Methods raise StorageUnavailable when it does not answer, FileNotFoundError for what it does not have, and those
    that write Unwanted.
    """

    leads: bool

    @property
    def url(self) -> str:
        """How people call it."""
        ...

    def close(self) -> None:
        """Let go of its connections."""
        ...

    def noted(self) -> dict[str, Any]:
        """What it takes to open it again in another process, as JSON; no secrets."""
        ...

    def below(self, path: str) -> list[Remote]:
        """The file at `path`, or all below it as a folder; empty for neither."""
        ...

    def head(self, path: str) -> tuple[Remote, str]:
        """One file, and its SHA-256 ('' where that is not known)."""
        ...

    def download(self, remote: Remote, to: Path, moved: Callable[[int], None]) -> Came:
        """Copy into a file, going on behind what that holds already where the source can. `moved` hears of bytes."""
        ...

    def put(self, path: str, data: bytes, sha256: str) -> None:
        """Write a small file."""
        ...

    def begin(self, path: str, sha256: str) -> str:
        """Begin an upload in parts; its id."""
        ...

    def put_part(self, path: str, upload: str, number: int, data: bytes, *, offset: int, md5: str) -> Part:
        """Send one part, numbered from 1, which begins at `offset`; `md5` in hexadecimal goes along."""
        ...

    def parts(self, path: str, upload: str, *, part_size: int) -> list[Part] | None:
        """The parts that have arrived; None when the upload is not known any more."""
        ...

    def complete(self, path: str, upload: str, parts: Sequence[Part], sha256: str) -> None:
        """Make a file of the parts."""
        ...

    def abandon(self, path: str, upload: str) -> None:
        """Forget an upload in parts."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file that a run has sent and removed since."""
        ...
