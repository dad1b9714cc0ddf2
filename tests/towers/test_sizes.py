"""ViT-B/16 without weights: what methods learn on it is counted by hand."""

import pytest
import torch

from polyprompt.errors import TowerError
from polyprompt.methods import coop, ivlp, vpt
from polyprompt.towers.sizes import Sizes


def learned(config):
    adapter = config.build(Sizes(), ("cat", "dog"), torch.Generator())
    return sum(adapter.numbers().values())


def test_prompts_are_as_wide_as_the_towers_of_vit_b_16():
    assert learned(coop.Config(context=16, words="")) == 16 * 512
    assert learned(vpt.Config(context=4, depth=12)) == 4 * 12 * 768
    both = ivlp.Config(text_context=2, image_context=3, text_depth=9, image_depth=5)
    assert learned(both) == 2 * 9 * 512 + 3 * 5 * 768


def test_nothing_can_be_encoded():
    with pytest.raises(TowerError, match="it has sizes and encodes nothing"):
        Sizes().text.prepare([[1]])
