"""Terms that take the place of cross-entropy, and what they refuse."""

import math

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import class_weighted, focal
from polyprompt.errors import ConfigError
from polyprompt.methods import clip_adapter, coop, mmrl


@pytest.mark.parametrize("config", [focal.Config(gamma=0.0), class_weighted.Config(weights="even")])
@pytest.mark.parametrize("method", [coop.Config(context=2), clip_adapter.Config()])
def test_plain_settings_are_cross_entropy_whose_place_they_take(method, config):
    encoder, labels = toy_encoder("clip"), torch.arange(6) % 4
    plain, other = (build(method, encoder, NAMES, extra=extra) for extra in ([], [config]))
    view = plain.see(toy_images())
    losses = other.losses(view, labels)
    assert len(losses) == 2
    torch.testing.assert_close(losses["loss"], plain.losses(view, labels)["cross_entropy"])


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_cannot_be(weight):
    for kind in (focal.Config, class_weighted.Config):
        with pytest.raises(ConfigError, match=r"the weight of class 'cat' is .*; a weight is 0 or more"):
            kind(weights={"cat": weight})
    with pytest.raises(ConfigError, match=r"gamma is .*; it is 0 or more"):
        focal.Config(gamma=weight)


def test_losses_that_do_not_go_together():
    encoder = toy_encoder("clip")
    with pytest.raises(ConfigError, match="class_weighted and focal each take the place of cross-entropy"):
        build(coop.Config(), encoder, NAMES, extra=[class_weighted.Config(), focal.Config()])
    own = mmrl.Config(layers=(2, 3), tokens=2, space=8)
    with pytest.raises(ConfigError, match="focal takes the place of a method's cross-entropy, and this one's is part"):
        build(own, encoder, NAMES, extra=[focal.Config()])
