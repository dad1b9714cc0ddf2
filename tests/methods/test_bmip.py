"""BMIP beside its golden numbers: attention as torch's own module gives it, and pictures that are seen alone."""

import pytest
import torch
from torch import nn
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.adapter import Adapter
from polyprompt.adapt.engine import build
from polyprompt.adapt.view import FrozenView
from polyprompt.errors import ConfigError
from polyprompt.methods import bmip, zeroshot
from polyprompt.nn.blocks import NewBlock
from polyprompt.towers.base import Change, DualEncoder, Rows

SMALL = bmip.Config(depth=3, words="a photo")
PROMPTS = 2


def paid_by_torch(attention: nn.MultiheadAttention, entering: torch.Tensor) -> torch.Tensor:
    """The mean over heads of the weights, and over all tokens but the last two."""
    _, weights = attention(entering, entering, entering, need_weights=True, average_attn_weights=True)
    return weights[:, :-PROMPTS, -PROMPTS:].mean(dim=1)


def test_attention_to_prompts_is_that_of_torchs_module():
    torch.manual_seed(0)
    states, theirs = torch.randn(3, 7, 48), nn.MultiheadAttention(48, 2, batch_first=True)
    block = toy_encoder("clip").image.transformer.resblocks[1]
    block.attn.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(block.paid(states, PROMPTS, 2), paid_by_torch(theirs, block.ln_1(states)))
    new = NewBlock(48, 2)
    new.qkv.load_state_dict({"weight": theirs.in_proj_weight, "bias": theirs.in_proj_bias})
    torch.testing.assert_close(new.paid(states, PROMPTS), paid_by_torch(theirs, new.norm1(states)))


@pytest.mark.parametrize("family", ["clip", "campe"])
def test_pictures_are_seen_alone_but_in_training(family):
    method = build(SMALL, toy_encoder(family), NAMES, seed=1)
    for gate in method.adapter.image_gates:
        gate.weight.data.fill_(40.0)  # attention is a small number
    pixels = toy_images(size=method.encoder.image.preprocess.size)
    with torch.no_grad():
        together = method.train()(pixels)
        alone = torch.cat([method.eval()(one[None]) for one in pixels])
        torch.testing.assert_close(method(pixels), alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(method.head()(pixels), alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together, alone, atol=1e-3)


def test_without_deeper_prompts_there_is_nothing_to_mix():
    encoder = toy_encoder("clip")
    parts = [
        sorted({name.partition(".")[0] for name in build(bmip.Config(depth=depth), encoder, NAMES).learned()})
        for depth in (1, 2)
    ]
    assert parts == [["first", "text"], ["first", "image", "image_gates", "text", "to_image"]]


class ByTheirAttention(Adapter):
    """Text prompts that ask for the attention to them."""

    def text_change(self, frozen: FrozenView) -> Change:
        rows = torch.zeros(1, 32)
        return Change(prompts={1: Rows(rows, made=lambda attention: rows)})


class Config(zeroshot.Config):
    def build(self, encoder: DualEncoder, names, draw) -> Adapter:
        return ByTheirAttention()


def test_a_tower_that_does_not_tell_its_attention_says_so():
    with pytest.raises(ConfigError, match="text tower: does not say what attention its blocks pay to prompts"):
        build(Config(), toy_encoder("clip"), NAMES)
