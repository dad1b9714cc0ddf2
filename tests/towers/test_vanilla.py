"""Names of towers that start from nothing; runs/test_align_vanilla.py has their numbers."""

import pytest
from toy_decoders import tokenizer

from polyprompt.errors import TowerError
from polyprompt.towers.vanilla import LARGEST, Sizes, sizes_of, untrained


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("vanilla:384x6", Sizes(384, 6, "")),
        ("vanilla:16x2@a/b@c", Sizes(16, 2, "a/b@c")),
        ("smollm2-135m", None),
        ("Vanilla:8x1", None),
    ],
)
def test_a_name_says_width_blocks_and_tokenizer(name, sizes):
    assert sizes_of(name) == sizes


@pytest.mark.parametrize("rest", ["", "384", "384x", "0x6", "7x1", "384x6@", f"{LARGEST + 1}x1", "8x99999", "8x-1"])
def test_what_begins_like_one_and_is_none(rest):
    with pytest.raises(TowerError, match="write its width and its blocks, at least 8 and 1, as in vanilla:384x6"):
        sizes_of(f"vanilla:{rest}")


def test_it_is_as_large_as_its_name_says():
    """12 d^2 + 13 d numbers a block, as in any GPT-2; nothing is dropped."""
    width, blocks, words = 16, 3, tokenizer()
    model = untrained(Sizes(width, blocks, ""), words)
    embeddings = (len(words) + model.config.n_positions) * width
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert numbers == embeddings + blocks * (12 * width**2 + 13 * width) + 2 * width
    assert {model.config.resid_pdrop, model.config.embd_pdrop, model.config.attn_pdrop} == {0.0}
    assert model.config.eos_token_id == words.eos_token_id
