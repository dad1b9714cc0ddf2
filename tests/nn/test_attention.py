"""Attention with gradients against torch's fused one."""

import pytest
import torch
from torch.nn import functional as F

from polyprompt.nn.attention import PART, attention


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_written_out_attention_is_the_fused_one(dtype):
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 3, n, 8, generator=draw, dtype=dtype) for n in (4, 7, 7)]
    found, expected = ([part.clone().requires_grad_() for part in inputs] for _ in range(2))
    ours, theirs = attention(*found), F.scaled_dot_product_attention(*expected)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.float32):  # must not reach the products
        ours.square().sum().backward()
    theirs.square().sum().backward()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=5 * tolerance, rtol=5 * tolerance)
    with torch.no_grad():
        torch.testing.assert_close(attention(*found), theirs, atol=tolerance, rtol=tolerance)


def test_weights_made_again_for_the_gradient_are_those_of_one_go():
    heads, n = 3, 207
    assert 2 <= PART // (heads * n * n * 4) < 3, "of five pictures, two are done at a time"
    inputs = [torch.randn(5, heads, n, 8, requires_grad=True) for _ in range(3)]
    in_parts = attention(*inputs)
    found = torch.autograd.grad(in_parts.square().sum(), inputs)
    one_by_one = torch.stack([attention(*each) for each in zip(*inputs, strict=True)])
    expected = torch.autograd.grad(one_by_one.square().sum(), inputs)
    torch.testing.assert_close((in_parts, *found), (one_by_one, *expected), atol=1e-6, rtol=1e-6)
