"""ProGrad's projection against vectors taken apart by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import prograd
from polyprompt.errors import ConfigError
from polyprompt.methods import coop

TEMPLATE = "a photo of a {}."


def gradients(method, view, labels, temperature):
    """Of cross-entropy, and of the distance to the frozen encoder's scores."""
    encoder, logits = method.encoder, method.logits(view)
    teacher = encoder.encode_text([TEMPLATE.format(name.replace("_", " ")) for name in NAMES])
    expected = (method.scale * F.normalize(view.images, dim=-1) @ teacher.T / temperature).softmax(dim=-1)
    apart = -(expected * F.log_softmax(logits / temperature, dim=-1)).sum(dim=-1).mean() * temperature**2
    (context,) = method.learned().values()
    both = F.cross_entropy(logits, labels), apart
    return [torch.autograd.grad(loss, context, retain_graph=True)[0] for loss in both]


@pytest.mark.parametrize(("share", "temperature"), [(1.0, 1.0), (0.5, 2.0)])
def test_what_points_against_the_teacher_is_taken_away(share, temperature):
    """Labels that the frozen encoder finds best leave the gradient as it is, the worst ones do not."""
    config = prograd.Config(share=share, temperature=temperature, template=TEMPLATE)
    method = build(coop.Config(context=3), toy_encoder("clip"), NAMES, extra=[config])
    view, against = method.see(toy_images(5)), []
    plain = build(coop.Config(context=3), toy_encoder("clip"), NAMES)
    frozen = F.normalize(view.images, dim=-1) @ method.encoder.encode_text([TEMPLATE.format(n) for n in NAMES]).T
    for labels in (frozen.argmax(dim=1), frozen.argmin(dim=1)):
        ga, gb = gradients(method, view, labels, temperature)
        dot = float((ga * gb).sum())
        against.append(dot < 0)
        expected = ga - share * dot / float(gb.square().sum()) * gb if dot < 0 else ga
        losses = method.losses(view, labels)
        (found,) = torch.autograd.grad(losses["loss"], list(method.learned().values()))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
        assert losses["projection"] == 0
        torch.testing.assert_close(losses["loss"], plain.losses(plain.see(toy_images(5)), labels)["loss"])
    assert set(against) == {True, False}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"share": -0.1}, "share is -0.1; it is 0 or more"), ({"temperature": 0.0}, "temperature is 0.0; it is above 0")],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=f"prograd: {message}"):
        prograd.Config(**settings)
    assert prograd.Config(share=0.0).share < math.inf
