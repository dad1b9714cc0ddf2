"""Focal loss as a term: settings reach the loss."""

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import focal
from polyprompt.methods import coop


def test_gamma_and_weights_by_name_reach_the_loss():
    labels = torch.tensor([0, 0, 1, 2, 3, 3])
    config = focal.Config(gamma=1.5, weights={"Tabby cat": 3.0})
    method = build(coop.Config(context=2), toy_encoder("clip"), NAMES, extra=[config])
    view = method.see(toy_images())
    slow = 0.0
    for row, label in zip(method.logits(view).softmax(dim=1).tolist(), labels.tolist(), strict=True):
        weight = 3.0 if NAMES[label] == "tabby_cat" else 1.0
        slow -= weight * (1 - row[label]) ** 1.5 * float(torch.tensor(row[label]).log()) / len(labels)
    assert method.losses(view, labels)["focal"].item() == pytest.approx(slow, rel=1e-5)
