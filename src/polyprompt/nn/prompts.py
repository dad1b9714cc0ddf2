"""Prompts in a sequence of token states: put in at the input, replaced in deeper blocks, started from words.

A text is a row of token ids. A learned vector has no id of its own, so `slot(r)`, a negative number, stands for row r
of a prompt tensor. Two texts that name the same row share it; a class or an image with a context of its own names
others.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.errors import ConfigError


def slot(row: int) -> int:
    """The id that stands for row `row` of the prompts: -1 for row 0, -2 for row 1, ..."""
    return ~row


def slots(first: int, count: int) -> list[int]:
    """`count` slots for the rows `first`, `first + 1`, ..."""
    return [slot(row) for row in range(first, first + count)]


def put(
    states: Float[Tensor, "n *b d"], places: Int[Tensor, "q"], vectors: Float[Tensor, "q *b d"]
) -> Float[Tensor, "n *b d"]:
    """`states` with `vectors[i]` at `places[i]`; what stood there gets no gradient."""
    return states.index_copy(0, places, vectors.to(states.dtype))


def append(
    states: Float[Tensor, "b m d"], prompts: Float[Tensor, "p d"] | Float[Tensor, "p b d"]
) -> Float[Tensor, "b n d"]:
    """`states` with prompts behind the tokens of each picture: the same for all, or each picture's own."""
    each = prompts.expand(len(states), -1, -1) if prompts.ndim == 2 else prompts.transpose(0, 1)
    return torch.cat([states, each.to(states.dtype)], dim=1)


def replace_last(
    states: Float[Tensor, "b m d"], prompts: Float[Tensor, "p d"] | Float[Tensor, "p b d"]
) -> Float[Tensor, "b m d"]:
    """`states` with its last tokens replaced by the prompts; what stood there gets no gradient."""
    kept, _ = states.split([states.shape[1] - len(prompts), len(prompts)], dim=1)
    return append(kept, prompts)


def from_words(vectors: Float[Tensor, "n d"], count: int, words: str) -> Float[Tensor, "p d"]:
    """The first `count` word vectors, copied: what a context starts from.

    Raises:
        ConfigError: fewer words than vectors. The originals would go on into the class name, overwriting it.
    """
    if count > len(vectors):
        raise ConfigError(
            f"{words!r} is {len(vectors)} tokens long, too short to start {count} context vectors from; "
            f'use at most {len(vectors)}, more words, or words = "" for random ones'
        )
    return vectors[:count].detach().clone()


def normal(count: int, width: int, std: float, draw: torch.Generator) -> Float[Tensor, "p d"]:
    """`count` vectors of independent normal numbers with mean 0."""
    return torch.randn(count, width, generator=draw) * std
