"""One thing to ask of the store, as data: a command or a script, its arguments, and how its answer is read.

The gateway is async, the supervisor and the instances are threads; both run the same calls, so that each
statement stands once. `A_call.then(f)` reads the answer further.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Generic, TypeAlias, TypeVar

from backend.store.keys import PREFIXES

T = TypeVar("T", covariant=True)
U = TypeVar("U")

Argument: TypeAlias = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """Either a Redis command (`script` is None, `args` starts with its name) or a script run with `args`."""

    args: tuple[Argument, ...]
    read: Callable[[Any], T]
    script: str | None = None

    def then(self, f: Callable[[T], U]) -> Call[U]:
        """The same request, its answer passed through `f`."""
        read = self.read
        return Call(self.args, lambda answer: f(read(answer)), self.script)


def command(*args: Argument) -> Call[Any]:
    """A plain Redis command; the answer is what the server says, as bytes."""
    return Call(args, lambda answer: answer)


def script(name: str, *args: Argument) -> Call[Any]:
    """The script `scripts/<name>.lua` with `args` as its ARGV."""
    return Call(args, lambda answer: answer, name)


@cache
def source(name: str) -> str:
    """The whole text of a script: the table of key names, then the file with its `--@include`s filled in."""
    table = ", ".join(f"{kind} = '{prefix}'" for kind, prefix in PREFIXES.items())
    return f"local P = {{ {table} }}\n{_expand(_read(f'{name}.lua'))}"


def _expand(text: str) -> str:
    return re.sub(
        r"^--@include (\w+)$", lambda found: _expand(_read(f"lib/{found[1]}.lua")), text, flags=re.M
    )


def _read(path: str) -> str:
    return resources.files("backend.store").joinpath("scripts", path).read_text(encoding="utf-8")
