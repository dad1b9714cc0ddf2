"""Small maps beside a layer of a block: LoRA's, MMA's, adapters'."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

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
