"""Cross-entropy with a weight for each class."""

import torch
import torch.nn.functional as F
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import class_weighted
from polyprompt.methods import coop


def test_weights_by_name_weigh_their_class():
    encoder, labels = toy_encoder("clip"), torch.tensor([0, 0, 1, 2, 3, 3])
    method = build(coop.Config(context=2), encoder, NAMES, extra=[class_weighted.Config(weights={"Tabby cat": 3.0})])
    view = method.see(toy_images())
    expected = F.cross_entropy(method.logits(view), labels, torch.tensor([1.0, 3.0, 1.0, 1.0]))
    torch.testing.assert_close(method.losses(view, labels)["loss"], expected)
