"""What an instance asks of a Ray node, and how many more of them the nodes have room for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.service import Description

_MEBIBYTE = 1 << 20
_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Needs:
    """Amounts by Ray's names (`GPU`, `CPU`, `memory` in bytes, custom ones), and the labels that a node must have."""

    amounts: dict[str, float]
    labels: dict[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """As arguments of `ActorClass.options`."""
        custom = {name: n for name, n in self.amounts.items() if name not in ("GPU", "CPU", "memory")}
        return {
            "num_gpus": self.amounts.get("GPU", 0),
            "num_cpus": self.amounts.get("CPU", 0),
            **({"memory": self.amounts["memory"]} if "memory" in self.amounts else {}),
            **({"resources": custom} if custom else {}),
            **({"label_selector": self.labels} if self.labels else {}),
        }

    def words(self) -> str:
        """`1 GPU, 4 CPU, zone=a`."""
        amounts = [_amount(name, n) for name, n in self.amounts.items() if n]
        return ", ".join([*amounts, *(f"{name}={value}" for name, value in self.labels.items())]) or "room"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster: all that it has, and what of that is not ours yet."""

    id: str
    address: str
    free: Mapping[str, float]
    total: Mapping[str, float]
    labels: Mapping[str, str]


def needs_of(description: Description, *, gpus: bool) -> Needs:
    """What one instance of a service takes.

    A description that names no GPU gets one where the cluster has any (`gpus`), as on a single machine; without, a
    CPU.
    """
    gpu = description.gpu or int(gpus)
    cpu = description.cpu if description.cpu is not None else 0 if gpu else 1
    amounts: dict[str, float] = {"GPU": float(gpu), "CPU": float(cpu), **description.ray.resources}
    if description.memory:
        amounts["memory"] = float(description.memory * _MEBIBYTE)
    return Needs({name: amount for name, amount in amounts.items() if amount}, dict(description.ray.labels))


def room(nodes: Iterable[Node], needs: Needs) -> int:
    """How many instances with these needs fit on the nodes beside what is there."""
    return sum(_fits(node.free, needs) for node in nodes if _suits(node, needs))


def could_ever(nodes: Iterable[Node], needs: Needs) -> bool:
    """Whether any node has enough, were it empty."""
    return any(_fits(node.total, needs) for node in nodes if _suits(node, needs))


def _fits(free: Mapping[str, float], needs: Needs) -> int:
    asked = [free.get(name, 0.0) / amount for name, amount in needs.amounts.items() if amount > 0]
    return max(0, math.floor(min(asked) + _SLACK)) if asked else 1


def _suits(node: Node, needs: Needs) -> bool:
    """Labels that are asked for by more than their value (`in(a,b)`, `!a`) are Ray's to judge."""
    plain = {name: value for name, value in needs.labels.items() if not value.startswith(("in(", "!"))}
    return all(node.labels.get(name) == value for name, value in plain.items())


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / _MEBIBYTE:.0f} MiB of memory"
    return f"{amount:g} {name}"
