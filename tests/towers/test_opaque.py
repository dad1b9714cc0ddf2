"""Towers that are used as a whole: what they are given, and what they refuse."""

import pytest
import torch
from torch import nn

from polyprompt.errors import ConfigError
from polyprompt.media.pictures import Preprocess
from polyprompt.towers.base import INPUT, NO_PLAN, NOTHING, Plan
from polyprompt.towers.opaque import BATCH, OpaqueImage, OpaqueText
from polyprompt.towers.words import Words

WORDS = Words(lambda text: [5 + byte for byte in text.encode()], (1,), (2,), pad=0, vocabulary=270)


def test_texts_are_run_padded_some_at_a_time():
    model, seen = nn.Embedding(270, 4), []

    def run(ids):
        seen.append(ids.shape)
        return model(ids).sum(dim=1)

    tower = OpaqueText(model, run, WORDS, 8, "it is another kind")
    rows = [tower.words("ab")] + [tower.words("c")] * BATCH
    ids = tower.prepare(rows)
    assert ids[0].tolist() == [1, 102, 103, 2, 0, 0, 0, 0]
    states = tower.below(ids, None)
    assert seen == [(BATCH, 8), (1, 8)]
    vectors = tower.above(ids, states, NOTHING).vectors
    torch.testing.assert_close(vectors, model(ids).sum(dim=1).detach())
    assert not vectors.requires_grad


def test_pictures_are_run_as_they_are():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    tower = OpaqueImage(model, Preprocess(2, (0.5,) * 3, (0.5,) * 3), "it is another kind")
    pixels = torch.randn(5, 3, 2, 2)
    vectors = tower.above(tower.below(pixels, None), NOTHING).vectors
    torch.testing.assert_close(vectors, model(pixels).detach())


def test_any_change_is_refused_and_none_is_not():
    tower = OpaqueText(nn.Identity(), lambda ids: ids, WORDS, 8, "it is another kind")
    assert tower.refuses(NO_PLAN) == ""
    for plan in (Plan(((INPUT, None),)), Plan((), frozenset({(0, "mlp")}))):
        assert tower.refuses(plan) == "it is another kind"
    assert (tower.depth, tower.width, tower.widths("mlp")) == (0, 0, (0, 0))
    with pytest.raises(ConfigError, match="it is another kind"):
        tower.vectors([1])
