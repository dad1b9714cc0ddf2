"""Attention with gradients against torch's fused one."""

import pytest
import torch
from torch.nn import functional as F

from polyprompt.nn.attention import attention


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


def test_weights_made_again_for_the_gradient_are_those_of_one_go(monkeypatch):
    inputs = [torch.randn(5, 3, n, 8, requires_grad=True) for n in (4, 7, 7)]
    at_once = attention(*inputs)
    expected = torch.autograd.grad(at_once.square().sum(), inputs)
    monkeypatch.setattr("polyprompt.nn.attention.PART", 2 * 3 * 4 * 7 * 4)  # two pictures
    in_parts = attention(*inputs)
    found = torch.autograd.grad(in_parts.square().sum(), inputs)
    torch.testing.assert_close((in_parts, *found), (at_once, *expected), atol=1e-6, rtol=1e-6)
