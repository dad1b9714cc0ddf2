"""The block that CLIP and SigLIP share, against torch's own layers put together by hand."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from polyprompt.errors import TowerError
from polyprompt.towers.transformer import MLP, PART, Block, attend_all, gelu_tanh, quick_gelu

WIDTH, HEADS = 12, 3


def shaken(module: nn.Module) -> nn.Module:
    draw = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)
    return module


@pytest.fixture
def block() -> Block:
    return shaken(Block(WIDTH, 20, "gelu", 1e-4, scaled=True))


def by_torch(block: Block, x: torch.Tensor) -> torch.Tensor:
    """x + a factor * torch's MultiheadAttention of the normed states; then the same with two linear maps and GELU."""
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    theirs.load_state_dict(block.attn.state_dict())
    normed = F.layer_norm(x, (WIDTH,), block.ln_1.weight, block.ln_1.bias, 1e-4)
    x = x + block.ls_1.gamma * theirs(normed, normed, normed, need_weights=False)[0]
    normed = F.layer_norm(x, (WIDTH,), block.ln_2.weight, block.ln_2.bias, 1e-4)
    inner = F.gelu(normed @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias)
    return x + block.ls_2.gamma * (inner @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias)


def test_a_block_is_torchs_attention_and_an_mlp_behind_norms(block):
    x = torch.randn(2, 5, WIDTH)
    attend = partial(attend_all, heads=HEADS)
    expected = by_torch(block, x)
    torch.testing.assert_close(block(x, attend), expected, rtol=1e-4, atol=1e-4)
    first = block(x, attend, rows=lambda states: states[:, :1])
    torch.testing.assert_close(first, expected[:, :1], rtol=1e-4, atol=1e-4)


def test_the_attention_paid_to_the_last_tokens_is_torchs(block):
    """The mean over heads and over the tokens that are not of them."""
    x = torch.randn(2, 7, WIDTH)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    theirs.load_state_dict(block.attn.state_dict())
    normed = block.ln_1(x)
    _, weights = theirs(normed, normed, normed)  # the mean over heads
    torch.testing.assert_close(block.paid(x, 2, HEADS), weights[:, :5, 5:].mean(dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
def test_an_mlp_in_parts_is_one_in_one_go(activation):
    """And its activations are the formulas of their papers."""
    formula = {
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
        "gelu_pytorch_tanh": lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    }[activation]
    mlp = shaken(MLP(4, 6, activation)).double()
    x = torch.randn(2, PART + 3, 4, dtype=torch.float64, requires_grad=True)
    expected = formula(x @ mlp.c_fc.weight.T + mlp.c_fc.bias) @ mlp.c_proj.weight.T + mlp.c_proj.bias
    torch.testing.assert_close(mlp(x), expected)
    (ours,), (theirs,) = (torch.autograd.grad(y.square().sum(), x) for y in (mlp(x), expected))
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), expected)


def test_an_activation_that_nobody_knows():
    with pytest.raises(TowerError, match="activation 'swish' is not one of quick_gelu, gelu, gelu_pytorch_tanh"):
        MLP(2, 2, "swish")
    assert quick_gelu(torch.zeros(1)) == gelu_tanh(torch.zeros(1)) == 0
