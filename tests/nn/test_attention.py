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
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=5 * tolerance, rtol=5 * tolerance)
    with torch.no_grad():
        torch.testing.assert_close(attention(*found), theirs, atol=tolerance, rtol=tolerance)
