"""Small maps beside a layer of a block: LoRA's, MMA's, adapters'."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.nn.linear import linear

Place: TypeAlias = Literal["input", "query", "key", "value", "out", "mlp", "block"]
"""Where a branch stands: what it is given, and what its result is added to.

query, key, value   the normalised states; the layer's result (of all tokens, or of the wanted ones alone)
out                 what attention gathered; the output projection's result
mlp                 the normalised states of the second half; the MLP's result
block               the normalised states entering the block; the states leaving it
input               text: word vectors without places; images: the states behind `ln_pre`; itself
"""

Branch: TypeAlias = Callable[[Tensor], Tensor]
"""A map of each row by itself, [.. d] to [.. o]: all savings rest on it (tests/test_contract.py holds it)."""

Branches: TypeAlias = Mapping[Place, Branch]
"""Those of one block, by place."""

NONE: Branches = {}


def beside(
    place: Place, given: Float[Tensor, "*n d"], result: Float[Tensor, "*n e"], branches: Branches
) -> Float[Tensor, "*n e"]:
    """A layer's result with that of the branch beside it, if there is one."""
    return result + branches[place](given) if place in branches else result


def both(one: Branches, other: Branches) -> Branches:
    """Those of two changes at once; where both have one, their sum."""
    twice = one.keys() & other.keys()
    return {**one, **other, **{place: _sum(one[place], other[place]) for place in twice}}


def _sum(one: Branch, other: Branch) -> Branch:
    return lambda x: one(x) + other(x)


class LowRank(nn.Module):
    """LoRA's update of a layer (Hu et al. 2021, arXiv:2106.09685): factor B A dropout(x); B starts at zero.

    Args:
        widths: numbers in and out.
        rank: rows of A.
        draw: what A starts from, uniform within 1 / sqrt(numbers in).
        factor: alpha / r in the paper.
        dropout: of the input, while training.
    """

    def __init__(
        self, widths: tuple[int, int], rank: int, draw: torch.Generator, *, factor: float = 1.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.factor = factor
        self.A = nn.Parameter(linear(widths[0], rank, draw, bias=False).weight.detach().clone())
        self.B = nn.Parameter(torch.zeros(widths[1], rank))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        """What is added to the layer's result."""
        return (self.factor * (self.dropout(x) @ self.A.T)) @ self.B.T
