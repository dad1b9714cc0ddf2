"""DeFo without its authors' code: it begins as zero-shot with golden numbers, and is what its equations say."""

import pytest
import torch
import torch.nn.functional as F
from golden_cases import Case
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError, DataError
from polyprompt.methods import coop, defo


@pytest.mark.parametrize("more", [0, 3])
def test_it_begins_as_zero_shot(more):
    case = Case("zeroshot")
    queries = len(case.class_names) + more
    config = defo.Config(queries=queries, start="classes", template=case.recorded["template"], length=4)
    method = build(config, case.encoder, case.class_names)
    case.close(method(case.tensors["images"]), "before.logits")


def test_scores_are_a_layer_over_cosines():
    encoder = toy_encoder("clip")
    method = build(defo.Config(queries=6, length=3), encoder, NAMES)
    view = method.see(toy_images())
    texts = method.text_out(view).vectors
    assert texts.shape == (6, encoder.dim)
    cosines = F.cosine_similarity(view.images[:, None], texts[None], dim=-1)
    slow = encoder.logit_scale.exp() * cosines @ method.adapter.head.weight.T + method.adapter.head.bias
    torch.testing.assert_close(method.logits(view), slow)


def test_a_fixed_layer_leaves_coop_without_names():
    """The sentences' gradients are those of as many contexts of CoOp's, with nothing behind them."""
    encoder = toy_encoder("clip")
    ours = build(defo.Config(queries=4, length=3, bias=False), encoder, NAMES)
    torch.nn.init.eye_(ours.adapter.head.weight)
    theirs = build(coop.Config(context=3, per_class=True), encoder, NAMES)
    theirs.adapter.context.data = ours.adapter.context.detach().unflatten(0, (4, 3))
    view, labels = ours.see(toy_images()), torch.arange(6) % 4
    texts = encoder.text.prepare(ours.adapter.rows(encoder.text, NAMES), theirs.adapter.text_change(view).plan)
    out = encoder.text.above(texts, encoder.text.below(texts, -1), theirs.adapter.text_change(view))
    expected = F.cross_entropy(
        encoder.logit_scale.exp() * F.normalize(view.images, dim=-1) @ F.normalize(out.vectors, dim=-1).T, labels
    )
    found = ours.losses(view, labels)["loss"]
    torch.testing.assert_close(found, expected)
    (a,) = torch.autograd.grad(found, ours.adapter.context)
    (b,) = torch.autograd.grad(expected, theirs.adapter.context)
    torch.testing.assert_close(a, b.flatten(0, 1), atol=1e-6, rtol=1e-4)


def test_settings_that_cannot_be():
    encoder = toy_encoder("clip")
    with pytest.raises(ConfigError, match="queries is 3; start=classes needs one for each of 4 classes"):
        build(defo.Config(queries=3, start="classes"), encoder, NAMES)
    with pytest.raises(ConfigError, match="length is 80 tokens, the text tower reads at most 58"):
        build(defo.Config(queries=3, length=80), encoder, NAMES)
    with pytest.raises(DataError, match="defo: its layer has no row for class 'zebra'; it knows cat"):
        build(defo.Config(queries=3), encoder, NAMES).for_classes(["zebra", "cat"])
