"""Class-weighted and focal loss against slow loops, torch, torchvision, scikit-learn; in place of cross-entropy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torchvision.ops import sigmoid_focal_loss
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.class_weights import ClassWeights
from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import class_weighted, focal
from polyprompt.errors import ConfigError, UnknownNameError
from polyprompt.methods import clip_adapter, coop, mmrl
from polyprompt.nn import losses

CASES = [(1, 2), (3, 2), (7, 5)]


def drawn(b: int, c: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(10 * b + c)
    logits = 3 * torch.randn(b, c, generator=draw, dtype=torch.float64)
    labels = torch.randint(c, (b,), generator=draw)
    return logits.requires_grad_(), labels, 0.1 + torch.rand(c, generator=draw, dtype=torch.float64)


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("b", "c"), CASES)
def test_focal_equals_a_slow_loop(b, c, gamma):
    logits, labels, weights = drawn(b, c)
    slow = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = math.exp(row[label]) / sum(math.exp(one) for one in row)
        slow -= float(weights[label]) * (1 - p) ** gamma * math.log(p) / b
    assert losses.focal(logits, labels, weights, gamma).item() == pytest.approx(slow)


@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
def test_focal_of_two_classes_is_torchvisions(gamma):
    logits, labels, _ = drawn(9, 2)
    weights = torch.tensor([0.7, 0.3], dtype=torch.float64)  # alpha is that of class 1
    ours = losses.focal(logits, labels, weights, gamma)
    theirs = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], labels.double(), 0.3, gamma, reduction="mean")
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_slope_where_all_is_right(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = losses.focal(logits, torch.tensor([0, 0]), torch.ones(2), gamma)
    assert gradient(loss, logits).isfinite().all()
    assert loss.item() == pytest.approx(100.0)


@pytest.mark.parametrize(("b", "c"), CASES)
def test_weighted_cross_entropy_equals_a_slow_loop_and_torch(b, c):
    logits, labels, weights = drawn(b, c)
    above, below = 0.0, 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        above += float(weights[label]) * (math.log(sum(math.exp(one) for one in row)) - row[label])
        below += float(weights[label])
    ours = losses.weighted_cross_entropy(logits, labels, weights[labels])
    assert ours.item() == pytest.approx(above / below)
    theirs = F.cross_entropy(logits, labels, weights)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))
    assert losses.weighted_cross_entropy(logits, labels, 0 * weights[labels]) == 0


def test_balanced_weights_are_scikit_learns():
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    weights = ClassWeights("balanced")
    weights.fit(labels, ["cat", "big_dog", "fox"])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert weights.of(["cat", "Big dog", "fox"], torch.zeros(1)).tolist() == pytest.approx(expected.tolist())
    assert weights.of(["fox", "newt"], torch.zeros(1)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("config", [focal.Config(gamma=0.0), class_weighted.Config(weights="even")])
@pytest.mark.parametrize("method", [coop.Config(context=2), clip_adapter.Config()])
def test_plain_settings_are_cross_entropy_whose_place_they_take(method, config):
    encoder, labels = toy_encoder("clip"), torch.arange(6) % 4
    plain, other = (build(method, encoder, NAMES, extra=extra) for extra in ([], [config]))
    view = plain.see(toy_images())
    losses = other.losses(view, labels)
    assert len(losses) == 2
    torch.testing.assert_close(losses["loss"], plain.losses(view, labels)["cross_entropy"])


def test_weights_by_name_weigh_their_class():
    encoder, labels = toy_encoder("clip"), torch.tensor([0, 0, 1, 2, 3, 3])
    method = build(coop.Config(context=2), encoder, NAMES, extra=[class_weighted.Config(weights={"Tabby cat": 3.0})])
    view = method.see(toy_images())
    expected = F.cross_entropy(method.logits(view), labels, torch.tensor([1.0, 3.0, 1.0, 1.0]))
    torch.testing.assert_close(method.losses(view, labels)["loss"], expected)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_cannot_be(weight):
    for kind in (focal.Config, class_weighted.Config):
        with pytest.raises(ConfigError, match=r"the weight of class 'cat' is .*; a weight is 0 or more"):
            kind(weights={"cat": weight})
    with pytest.raises(ConfigError, match=r"gamma is .*; it is 0 or more"):
        focal.Config(gamma=weight)


def test_other_bad_input():
    with pytest.raises(UnknownNameError, match=r"no class to have a weight is called 'cats'\. Did you mean 'cat'"):
        ClassWeights({"cats": 2.0}).fit(torch.tensor([0, 1]), ["cat", "dog"])
    encoder = toy_encoder("clip")
    with pytest.raises(ConfigError, match="class_weighted and focal each take the place of cross-entropy"):
        build(coop.Config(), encoder, NAMES, extra=[class_weighted.Config(), focal.Config()])
    own = mmrl.Config(layers=(2, 3), tokens=2, space=8)
    with pytest.raises(ConfigError, match="focal takes the place of a method's cross-entropy, and this one's is part"):
        build(own, encoder, NAMES, extra=[focal.Config()])
