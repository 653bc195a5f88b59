"""Calls about the server itself."""

from __future__ import annotations

from typing import Any

from backend.store.call import Call, command


def ping() -> Call[Any]:
    """Whether it answers. Reading raises nothing; a server that is away makes the call fail."""
    return command("PING")


def facts() -> Call[dict[str, str]]:
    """What it says of itself (INFO): version, whether there is an append-only file, and much more."""

    def read(answer: Any) -> dict[str, str]:
        if isinstance(answer, dict):
            return {str(name): str(value) for name, value in answer.items()}
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    return command("INFO").then(read)
