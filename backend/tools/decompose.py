"""The singular values of up · down, found from its factors, and how many of them to keep.

up · down is (out × rank)(rank × in): with up = Q₁R₁ and downᵀ = Q₂R₂ it is Q₁(R₁R₂ᵀ)Q₂ᵀ, so the decomposition of the
small R₁R₂ᵀ gives that of the product, in milliseconds where that of the whole weight takes seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Method: TypeAlias = Literal["fixed", "sv_fro", "sv_ratio", "sv_cumulative"]
METHODS: tuple[Method, ...] = ("fixed", "sv_fro", "sv_ratio", "sv_cumulative")
"""How kohya's resize script chooses a rank; `fixed` is the rank that is asked for."""

_NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Decomposed:
    """left · diag(values) · rightᵀ: (out, n), (n,) from the largest down, (in, n)."""

    left: Tensor
    values: Tensor
    right: Tensor

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """The best up (out, rank) and down (rank, in) of this rank; both have the same size of values.

        Eckart and Young, "The approximation of one matrix by another of lower rank", 1936.
        """
        root = self.values[:rank].sqrt()
        return self.left[:, :rank] * root, (self.right[:, :rank] * root).T.contiguous()

    def kept(self, rank: int) -> float:
        """The share of the Frobenius norm that the first `rank` values hold, 0 to 1."""
        whole = float(self.values.square().sum())
        return math.sqrt(float(self.values[:rank].square().sum()) / whole) if whole else 1.0


def decompose(up: Tensor, down: Tensor) -> Decomposed:
    """The singular value decomposition of up (out, r) · down (r, in)."""
    left, small_left = torch.linalg.qr(up.double())
    right, small_right = torch.linalg.qr(down.double().T)
    u, values, v = torch.linalg.svd(small_left @ small_right.T)
    count = len(values)
    return Decomposed((left @ u[:, :count]).float(), values.float(), (right @ v.T[:, :count]).float())


def choose(values: Tensor, method: Method, parameter: float, most: int) -> int:
    """How many singular values to keep, 1 to `most`; `values` from the largest down.

    `sv_ratio` keeps those larger than the first divided by the parameter; `sv_cumulative` the first ones until their
    sum is that share of the sum of all; `sv_fro` until their norm is that share of the norm of all. Each keeps one
    more than that, as kohya's script does, so that a parameter gives the same ranks in both.
    """
    most = max(1, min(most, len(values)))
    if method == "fixed":
        return most
    if float(values[0]) <= _NOTHING:
        return 1
    if method == "sv_ratio":
        return _within(int((values > values[0] / parameter).sum()) + 1, most)
    amounts, share = (values, parameter) if method == "sv_cumulative" else (values.square(), parameter**2)
    reached = torch.cumsum(amounts.double(), 0) / amounts.double().sum()
    return _within(int((reached < share - 1e-9).sum()) + 2, most)


def _within(rank: int, most: int) -> int:
    return max(1, min(rank, most))
