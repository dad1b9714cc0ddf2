"""PromptSRC's three terms, worked out number by number."""

import math

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import promptsrc
from polyprompt.errors import ConfigError
from polyprompt.methods import maple

TEMPLATES = ("a {}.", "many {}, or one")


def unit(row):
    length = math.hypot(*row)
    return [value / length for value in row]


def softmax(row):
    top = max(row)
    parts = [math.exp(value - top) for value in row]
    return [part / sum(parts) for part in parts]


def mean_gap(ours, theirs):
    gaps = [abs(a - b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True)]
    return sum(gaps) / len(gaps)


@torch.no_grad()
def test_drifts_are_mean_gaps_and_logits_a_divergence():
    encoder, pixels = toy_encoder("clip"), toy_images(3)
    term = promptsrc.Config(text=5.0, image=3.0, logits=2.0, templates=TEMPLATES)
    method = build(maple.Config(depth=2, words="a photo"), encoder, NAMES, extra=[term])
    for parameter in method.learned().values():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    view = method.see(pixels)
    found = method.losses(view, torch.tensor([0, 1, 2]))

    teacher = []
    for name in NAMES:
        rows = encoder.encode_text([one.format(name.replace("_", " ")) for one in TEMPLATES], normalize=False).tolist()
        teacher.append(unit([(a + b) / 2 for a, b in zip(*rows, strict=True)]))
    frozen = [unit(row) for row in encoder.encode_image(pixels, normalize=False).tolist()]
    classes = [unit(row) for row in method.class_features(view).tolist()]
    images = [unit(row) for row in method.image_features(view).tolist()]
    assert found["text_drift"].item() == pytest.approx(5.0 * mean_gap(classes, teacher), rel=1e-4)
    assert found["image_drift"].item() == pytest.approx(3.0 * mean_gap(images, frozen), rel=1e-4)
    assert min(found["text_drift"], found["image_drift"]) > 0.01

    scale, divergence = float(method.scale), 0.0
    for row, logits in zip(frozen, method.logits(view).tolist(), strict=True):
        expected = softmax([scale * sum(a * b for a, b in zip(row, one, strict=True)) for one in teacher])
        ours = softmax(logits)
        divergence += sum(p * math.log(p / q) for p, q in zip(expected, ours, strict=True))
    assert found["logit_drift"].item() == pytest.approx(2.0 * divergence / (3 * len(NAMES)), rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text": -1.0}, "text is -1.0; a weight is 0 or more"),
        ({"logits": math.nan}, "logits is nan"),
        ({"std": 0.0}, "std is 0.0; it counts epochs"),
        ({"templates": ()}, "templates is empty"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=f"promptsrc: {message}"):
        promptsrc.Config(**settings)
