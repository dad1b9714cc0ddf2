"""Where ProGrad's context starts; all else is compared with the authors' numbers (tests/test_golden.py)."""

import pytest
import torch
from toy_encoders import toy_encoder

from polyprompt.adapt.engine import build
from polyprompt.methods import prograd


@pytest.mark.parametrize("family", ["clip", "siglip", "campe"])
def test_vectors_without_a_word_start_at_zero_where_they_see_a_first_token(family):
    encoder = toy_encoder(family)
    method = build(prograd.Config(context=4, words="a cat"), encoder, ["cat", "dog"])
    words = encoder.text.vectors(encoder.text.words("a cat")[:2])
    assert torch.equal(method.adapter.context[2:], words)
    assert bool((method.adapter.context[:2] == 0).all()) == bool(encoder.text.front) == (family == "clip")
