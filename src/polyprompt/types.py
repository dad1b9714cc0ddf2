"""Shape letters, the same in the whole package, and the tensor aliases that use them.

b  items in a batch           n  nodes or tokens in a sequence     s  slots, sentences, or nodes of a tree
t  texts, c classes           m  image tokens, f frames            p  prompt tokens
i  images                     q  those that ask                    r  rows that are picked, readouts among them
k  prompts or segments (K)    h  heads                             g  groups
d  width of a tower           D  width of the joint embedding      e  part of a width: a head's or segment's
"""

from typing import TypeAlias

from jaxtyping import Bool, Float, Int
from torch import Tensor

Hidden: TypeAlias = Float[Tensor, "b n d"]
"""Token states inside a tower."""

Tokens: TypeAlias = Int[Tensor, "b n"]
"""Token ids or positions, one row per text."""

Mask: TypeAlias = Bool[Tensor, "b n n"]
"""`mask[b, i, j]`: token i may look at token j."""

Embedding: TypeAlias = Float[Tensor, "b D"]
"""Unit rows in the space that texts and images share."""

Segments: TypeAlias = Float[Tensor, "b k e"]
"""The K parts of an embedding, `e = D / K` numbers each."""

Pixels: TypeAlias = Float[Tensor, "b 3 height width"]
"""Preprocessed pictures."""
