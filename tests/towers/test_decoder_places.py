"""Branches beside the layers of a decoder's block, in every family, against merged weights."""

import pytest
import torch
from toy_decoders import FAMILIES, toy_decoder

from polyprompt.towers.decoder_places import layers_of
from polyprompt.towers.llm import LLM


@torch.no_grad()
@pytest.mark.parametrize(
    ("family", "place"),
    [
        (family, place)
        for family in FAMILIES
        for place in ("query", "key", "value", "out", "mlp")
        if (family, place) != ("opt", "mlp")  # two layers stand in the block itself
    ],
)
def test_a_branch_is_a_change_of_its_layers_weight(family, place, toy_tokenizer):
    """Linear branches beside a block's layers, against the block with the sum of both weights; all rows, and some."""
    plain, merged = (LLM(toy_decoder(family), toy_tokenizer, family) for _ in range(2))
    layers = plain.layers
    given, gives = layers.widths[place]
    update, block = 0.1 * torch.randn(gives, given), merged.blocks[1]
    if place == "mlp":
        block.mlp = Around(block.mlp, update)
    else:
        layer = getattr(getattr(block, layers.attention), layers.names[place])
        weight = layer.weight.data.T if family == "gpt2" else layer.weight.data  # gpt2 keeps its layers transposed
        order = [p for p in ("query", "key", "value") if layers.names[p] == layers.names[place]]
        start = sum(layers.widths[p][1] for p in order[: order.index(place)]) if place in order else 0
        weight[start : start + gives] += update
    ids = torch.randint(3, 200, (2, 7))
    positions, mask = torch.arange(7).expand(2, -1), torch.ones(2, 7, 7).tril().bool()
    branches = {place: lambda x: x @ update.T}
    hidden, flow = plain.embed(ids, positions, mask)
    hidden = plain.run(hidden, flow, 0, 1)
    expected = merged.run(hidden, flow, 1, 2)
    torch.testing.assert_close(plain.run(hidden, flow, 1, 2, branches), expected, atol=1e-5, rtol=1e-4)
    rows = torch.tensor([[6, 2], [1, 5]])
    picked = expected.gather(1, rows[..., None].expand(-1, -1, expected.shape[-1]))
    torch.testing.assert_close(plain.run_rows(hidden, flow, 1, rows, branches), picked, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(plain.run(hidden, flow, 1, 2), expected, atol=1e-3)


class Around(torch.nn.Module):
    def __init__(self, inner, update):
        super().__init__()
        self.inner, self.update = inner, update

    def forward(self, x):
        return self.inner(x) + x @ self.update.T


@torch.no_grad()
def test_a_branch_beside_a_block_is_given_what_enters_its_norm(toy_tokenizer):
    llm = LLM(toy_decoder("llama"), toy_tokenizer, "llama")
    hidden, flow = llm.embed(torch.tensor([[5, 6, 7]]), torch.arange(3)[None], torch.ones(1, 3, 3).tril().bool())
    update = torch.randn(32, 32)
    found = llm.run(hidden, flow, 0, 1, {"block": lambda x: x @ update})
    expected = llm.run(hidden, flow, 0, 1) + llm.blocks[0].input_layernorm(hidden) @ update
    torch.testing.assert_close(found, expected)


def test_a_block_of_an_unknown_family_has_no_places():
    decoder = toy_decoder("llama")
    assert layers_of(decoder.layers[0], decoder.config).names["query"] == "q_proj"
    del decoder.layers[0].self_attn.o_proj
    assert layers_of(decoder.layers[0], decoder.config) is None
    assert layers_of(torch.nn.Linear(2, 2), decoder.config) is None
