"""The engine around one method; what it promises of all of them, tests/test_contract.py asks of each."""

import pytest
import torch
import torch.nn.functional as F
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.engine import build
from polyprompt.adapt.terms import kgcoop
from polyprompt.errors import ConfigError, DataError, DependsOnPicturesError
from polyprompt.methods import cocoop, coop, vpt


@pytest.fixture
def method(encoder):
    return build(coop.Config(context=3), encoder, NAMES, seed=5, extra=[kgcoop.Config(weight=0.5)])


def test_logits_are_scaled_cosines_of_the_adapted_vectors(method, encoder):
    """The class vectors are those of sentences whose first words are the learned ones."""
    pixels = toy_images()
    images = encoder.encode_image(pixels)
    context, text = method.adapter.context, encoder.text
    rows = []
    for name in NAMES:
        ids = [*text.tokenizer.start, *text.words(f" {name.replace('_', ' ')}."), *text.tokenizer.end]
        states = text.token_embedding.weight[ids]
        states = torch.cat([states[:1], context, states[1:]]) + text.positional_embedding[: len(ids) + 3]
        for block in text.transformer.resblocks:
            mask = torch.ones(len(states), len(states)).tril().bool()

            def look(q, both, mask=mask):
                q, k, v = (x.unflatten(-1, (text.heads, -1)).transpose(0, 1) for x in (q, *both.chunk(2, -1)))
                weights = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf).softmax(-1)
                return (weights @ v).transpose(0, 1).flatten(1)

            states = block(states, look)
        rows.append(text.ln_final(states[-1]) @ text.text_projection)
    expected = encoder.logit_scale.exp() * images @ F.normalize(torch.stack(rows), dim=-1).T
    torch.testing.assert_close(method(pixels), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_sum_of_its_terms(method):
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    losses = method.losses(method.see(toy_images()), labels)
    assert set(losses) == {"loss", "cross_entropy", "knowledge"}
    torch.testing.assert_close(losses["loss"], losses["cross_entropy"] + losses["knowledge"])
    torch.testing.assert_close(losses["cross_entropy"], F.cross_entropy(method(toy_images()), labels))


def test_weights_count_pictures_in_cross_entropy_alone(method):
    labels, weights = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([2.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    view = method.see(toy_images())
    losses, plain = method.losses(view, labels, weights), method.losses(view, labels)
    each = F.cross_entropy(method.logits(view), labels, reduction="none")
    torch.testing.assert_close(losses["cross_entropy"], (weights * each).sum() / weights.sum())
    assert losses["knowledge"] == plain["knowledge"]


def test_other_classes_share_what_was_learned(method):
    other = method.for_classes(["fox", "cat"])
    assert other.class_names == ("fox", "cat")
    assert other.adapter.context is method.adapter.context
    torch.testing.assert_close(other(toy_images())[:, 1], method(toy_images())[:, 0], rtol=1e-4, atol=1e-5)
    for names in (["cat"], ["cat", "Cat"], ["cat", " "]):
        with pytest.raises(DataError):
            method.for_classes(names)


def test_a_head_stays_as_it_was_when_it_was_made(method):
    before = method(toy_images()).detach()
    head = method.head()
    method.adapter.context.data.add_(torch.randn(3, 32))
    torch.testing.assert_close(head(toy_images()), before, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(method(toy_images()), before, atol=1e-3)
    with pytest.raises(DependsOnPicturesError, match="its class vectors depend on the picture"):
        build(cocoop.Config(context=2), toy_encoder("clip"), NAMES).head()


def test_the_encoder_is_frozen_in_any_mode(method, encoder):
    method.train()
    assert method.adapter.training
    assert not any(module.training for module in encoder.modules())
    assert list(method.learned()) == ["context"]
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_same_seed_starts_alike():
    first, again, other = (build(coop.Config(context=3), toy_encoder("clip"), NAMES, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.adapter.context, again.adapter.context)
    assert not torch.equal(first.adapter.context, other.adapter.context)


def test_a_tower_that_cannot_take_the_change_is_refused():
    with pytest.raises(ConfigError, match="image tower"):
        build(vpt.Config(context=2, depth=1), toy_encoder("resnet"), NAMES)
