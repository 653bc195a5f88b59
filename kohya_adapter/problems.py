"""What is said about a form before it is queued, at the field that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from backend.training.checks import Report

Severity: TypeAlias = Literal["error", "warning"]
"""An error keeps the form from being queued; a warning does not."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to know about a field: what is wrong and what to do."""

    field: str
    message: str
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the instances that would run a form have.

    `packages` are import names, such as bitsandbytes; `sd_scripts` says that they train with a checkout of sd-scripts
    instead of the built-in trainer.
    """

    packages: frozenset[str] = frozenset()
    gpu: bool = False
    sd_scripts: bool = False


@dataclass(frozen=True, slots=True)
class Validation:
    """All problems of a form, and what the run would be: pictures, buckets, steps; None where that cannot be known."""

    problems: tuple[Problem, ...]
    estimate: Report | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What has to be changed before the form can be queued."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def ok(self) -> bool:
        """Whether the form can be queued."""
        return not self.errors
