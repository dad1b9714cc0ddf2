"""Probabilities of a classifier against cosines taken by hand."""

import math

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.errors import DataError
from polyprompt.methods import cocoop, coop, zeroshot


def by_hand(encoder, pixels, names):
    texts = encoder.encode_text([f"a photo of a {name.replace('_', ' ')}." for name in names]).tolist()
    rows = []
    for image in encoder.encode_image(pixels).tolist():
        logits = [encoder.logit_scale.exp().item() * sum(map(float.__mul__, image, text)) for text in texts]
        parts = [math.exp(logit - max(logits)) for logit in logits]
        rows.append([part / sum(parts) for part in parts])
    return torch.tensor(rows)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_zero_shot_is_a_softmax_of_cosines(family):
    encoder, pixels = toy_encoder(family), toy_images(3)
    classifier = Classifier(build(zeroshot.Config(), encoder, NAMES))
    torch.testing.assert_close(classifier(pixels), by_hand(encoder, pixels, NAMES), rtol=1e-4, atol=1e-5)
    others = ["red fox", "cat"]
    assert classifier.class_names == NAMES
    assert classifier.for_classes(others).class_names == tuple(others)
    found = classifier.for_classes(others)(pixels)
    torch.testing.assert_close(found, by_hand(encoder, pixels, others), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [coop.Config(context=2), cocoop.Config(context=2)])
def test_it_gives_what_the_method_gives(config):
    """CoCoOp has no class vectors that hold for all pictures, so it is asked anew."""
    method = build(config, toy_encoder("clip"), NAMES).eval()
    pixels = toy_images(4)
    with torch.no_grad():
        expected = method(pixels).softmax(dim=1)
    found = Classifier(method)(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not found.requires_grad


def test_one_class_is_no_question():
    classifier = Classifier(build(zeroshot.Config(), toy_encoder("clip"), NAMES))
    with pytest.raises(DataError, match=r"1 class \(cat\)"):
        classifier.for_classes(["cat"])
