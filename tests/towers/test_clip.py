"""The towers of a CLIP: prompts that enter anywhere, branches beside any layer, against slow and plain ones."""

from functools import partial
from typing import get_args

import pytest
import torch
from torch.nn import functional as F
from toy_encoders import through, toy_encoder, toy_images
from toy_open_clip import CLOSE, openai_state

from polyprompt.adapt.adapter import entering
from polyprompt.nn.branches import Place
from polyprompt.nn.prompts import slots
from polyprompt.towers.base import INPUT, Change, Rows
from polyprompt.towers.clip import PLAIN, Savings, TextTransformer
from polyprompt.zoo.openai import from_openai


def test_gradients_reach_prompts_alone_and_parts_do_not_change_them():
    encoder = from_openai(openai_state(), "toy").double()
    assert isinstance(encoder.text, TextTransformer)
    rows = [[*slots(0, 2), 5, *range(number + 1)] for number in range(6)]
    gradients = []
    for savings in (
        PLAIN,
        Savings(),
        Savings(nodes=6),
        Savings(share=False),
        Savings(cut=False),
        Savings(last_row=False),
    ):
        encoder.saving(savings)
        first = torch.full((2, 64), 0.3, dtype=torch.float64, requires_grad=True)
        deep = torch.full((2, 64), -0.2, dtype=torch.float64, requires_grad=True)
        change = entering([first, deep])
        texts = encoder.text.prepare(rows, change.plan)
        vectors = encoder.text.above(texts, encoder.text.below(texts, change.start), change).vectors
        vectors.square().sum().backward()
        gradients.append((vectors.detach(), first.grad, deep.grad))
        assert (len(texts.parts) > 1) == (savings.nodes == 6)
    for other in gradients[1:]:
        for ours, plain in zip(other, gradients[0], strict=True):
            torch.testing.assert_close(ours, plain)
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize(("last_row", "image", "text"), [(True, 1, 1), (False, 17, 4)])
def test_savings_reach_both_towers(last_row, image, text):
    """Rows that the last block's MLP sees: those read out, or all."""
    encoder = from_openai(openai_state(), "toy")
    encoder.saving(Savings(last_row=last_row))
    seen = []
    for tower in (encoder.image, encoder.text):
        tower.transformer.resblocks[-1].mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder.encode_image(torch.randn(1, 3, encoder.image.preprocess.size, encoder.image.preprocess.size))
    encoder.text.below(encoder.text.prepare([[320, 539]]), None)
    assert [len(rows.flatten(0, -2)) for rows in seen] == [image, text]


@pytest.mark.parametrize("start", [1, 2])
def test_prompts_that_enter_late_are_unseen_below(start):
    """Slow and plain: the blocks below run on the words alone, which have the places they have without slots."""
    encoder = from_openai(openai_state(), "toy")
    text = encoder.text
    vectors = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    row = [*slots(0, 2), 320, 539]
    ids = [*text.tokenizer.start, *row, *text.tokenizer.end]
    words = [place for place, token in enumerate(ids) if token >= 0]
    with torch.no_grad():
        ours = through(text, [row, [*row, 7]], entering([vectors], start))[0]
        places = text.positional_embedding[: len(words)]
        states = text.token_embedding.weight[[ids[place] for place in words]] + places
        for number, block in enumerate(text.transformer.resblocks):
            if number == start:
                states = torch.cat([states[:1], vectors, states[1:]])
            mask = torch.ones(len(states), len(states)).tril().bool()

            def look(q, both, mask=mask):
                q, k, v = (x.unflatten(-1, (text.heads, -1)).transpose(0, 1) for x in (q, *both.chunk(2, -1)))
                weights = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf).softmax(-1)
                return (weights @ v).transpose(0, 1).flatten(1)

            states = block(states, look)
        expected = text.ln_final(states[-1]) @ text.text_projection
    torch.testing.assert_close(ours, expected, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_slots_that_part_in_a_later_block_cost_nothing_below_it(family):
    """Two rows shared at the input, rows of each text's own from block 1 on: the same as texts laid out apart."""
    text = toy_encoder(family).text
    rows = [[*slots(2 * number, 2), 65, 70 + number] for number in range(4)]
    shared, own = torch.randn(2, 32), torch.randn(8, 32)
    of = (0, 1) * 4
    change = Change(input=Rows(shared, of), prompts={1: Rows(own)})
    apart = Change(input=Rows(shared[list(of)]), prompts={1: Rows(own)})
    torch.testing.assert_close(through(text, rows, change), through(text, rows, apart), **CLOSE)
    if family == "clip":
        stages = text.prepare(rows, change.plan).parts[0]
        assert len(stages[INPUT].trie.ids) == 4 + 2 * 4  # start, two slots and the first word; last word and end
        assert len(stages[1].trie.ids) == 1 + 5 * 4


@torch.no_grad()
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_change_of_nothing_is_the_tower(family):
    """Rows that put back the states that stand there, and branches that add zero."""
    encoder = toy_encoder(family)
    zero = dict.fromkeys(((block, place) for block in range(3) for place in get_args(Place) if place != "input"), 0)
    branches = {key: lambda x: 0 * x for key in zero} | {(INPUT, "input"): lambda x: 0 * x}
    change = Change(branches=branches)
    rows = [[65, 66], [65]]
    plain = torch.cat(encoder.text.below(encoder.text.prepare(rows), None))
    torch.testing.assert_close(through(encoder.text, rows, change), plain)
    pixels = toy_images()
    found = encoder.image.above(encoder.image.below(pixels, INPUT), change).vectors
    torch.testing.assert_close(found, encoder.image.below(pixels, None))


@torch.no_grad()
@pytest.mark.parametrize("place", ["query", "key", "value", "out", "mlp"])
def test_a_branch_is_a_change_of_its_layers_weight(place):
    """A linear branch beside a layer equals the tower with the sum of both weights."""
    encoder, merged = toy_encoder("clip"), toy_encoder("clip")
    for tower, width in (("text", 32), ("image", 48)):
        update = 0.1 * torch.randn(width, width)
        block = getattr(merged, tower).transformer.resblocks[1]
        third = ["query", "key", "value"].index(place) if place in ("query", "key", "value") else None
        branch = partial(F.linear, weight=update)
        if third is not None:
            block.attn.in_proj_weight.data[third * width : (third + 1) * width] += update
        elif place == "out":
            block.attn.out_proj.weight.data += update
        else:  # an MLP is not linear: the same branch as a module around it
            block.mlp = Around(block.mlp, branch)
        change = Change(branches={(1, place): branch})
        if tower == "text":
            rows = [[65, 66], [65], [70, 71, 72]]
            expected = torch.cat(merged.text.below(merged.text.prepare(rows), None))
            torch.testing.assert_close(through(encoder.text, rows, change), expected, **CLOSE)
        else:
            states = encoder.image.below(toy_images(), 1)
            expected = merged.image.below(toy_images(), None)
            torch.testing.assert_close(encoder.image.above(states, change).vectors, expected, **CLOSE)


class Around(torch.nn.Module):
    def __init__(self, inner, branch):
        super().__init__()
        self.inner, self.branch = inner, branch

    def forward(self, x):
        return self.inner(x) + self.branch(x)
