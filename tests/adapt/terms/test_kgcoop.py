"""KgCoOp's term against a slow loop over classes and pictures."""

import math

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import kgcoop
from polyprompt.errors import ConfigError
from polyprompt.methods import cocoop, coop


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


@pytest.mark.parametrize("config", [coop.Config(context=2), cocoop.Config(context=2)])
def test_it_is_the_mean_distance_to_one_sentence_a_class(config):
    """CoCoOp has class vectors for each picture: the mean runs over these, too."""
    encoder = toy_encoder("clip")
    term = kgcoop.Config(weight=2.0, template="the {} here")
    method = build(config, encoder, NAMES, extra=[term])
    view = method.see(toy_images(3))
    teacher = encoder.encode_text([f"the {name.replace('_', ' ')} here" for name in NAMES], normalize=False).tolist()
    found = method.class_features(view)
    rows = (found[:, None] if found.ndim == 2 else found).tolist()
    cosines = [cosine(row, teacher[c]) for c, each in enumerate(rows) for row in each]
    expected = 2.0 * (1 - sum(cosines) / len(cosines))
    assert method.losses(view, torch.tensor([0, 1, 2]))["knowledge"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_cannot_be(weight):
    with pytest.raises(ConfigError, match=r"kgcoop: weight is .*; a weight is 0 or more"):
        kgcoop.Config(weight=weight)
