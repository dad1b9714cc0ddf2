"""A small causal transformer that starts from nothing: the text tower of a plain CLIP, to compare pretrained ones with.

Radford et al. 2021 (arXiv:2103.00020, section 2.4) take GPT-2's architecture with learned positions; so does this one,
with GELU, no dropout, and the tokenizer of a pretrained tower, so that both read the same tokens.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from polyprompt.errors import TowerError
from polyprompt.nn.blocks import heads_for
from polyprompt.values import Foreign

if TYPE_CHECKING:
    from transformers import GPT2Config

PREFIX = "vanilla:"
LARGEST = 8192


class Sizes(NamedTuple):
    """What its name says of a fresh tower."""

    width: int
    blocks: int
    tokenizer: str
    """The tower whose tokenizer it has; empty: the packaged one."""


def sizes_of(name: str) -> Sizes | None:
    """ "vanilla:384x6" or "vanilla:384x6@TOWER" in parts; None: another kind of name.

    Raises:
        TowerError: it begins like one, and is none.
    """
    if not name.startswith(PREFIX):
        return None
    match = re.fullmatch(r"vanilla:([1-9]\d*)x([1-9]\d*)(?:@(.+))?", name)
    if not match or max(int(match[1]), int(match[2])) > LARGEST or int(match[1]) < 8:
        raise TowerError(f"text tower {name!r}: write its width and its blocks, at least 8 and 1, as in vanilla:384x6.")
    return Sizes(int(match[1]), int(match[2]), match[3] or "")


def untrained(sizes: Sizes, tokenizer: Foreign) -> nn.Module:
    """The tower with random weights, drawn from torch's own generator."""
    from transformers import GPT2Model

    config = config_of(sizes, len(tokenizer))
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    return GPT2Model(config)


def config_of(sizes: Sizes, vocabulary: int) -> "GPT2Config":
    """Its config, from the number of tokens."""
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=vocabulary,
        n_embd=sizes.width,
        n_layer=sizes.blocks,
        n_head=heads_for(sizes.width),
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
