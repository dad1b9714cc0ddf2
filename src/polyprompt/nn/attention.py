"""Softmax attention, by the way that is fastest where it runs."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def attention(
    queries: Float[Tensor, "b h q e"], keys: Float[Tensor, "b h n e"], values: Float[Tensor, "b h n e"]
) -> Float[Tensor, "b h q e"]:
    """softmax(queries keys^T / sqrt(e)) values.

    On a CPU torch's fused attention is slow backwards (four times in bfloat16), so products are written out there
    wherever a gradient is wanted.
    """
    if queries.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(queries, keys, values)
    weights = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    return weights.softmax(dim=-1).to(values.dtype) @ values
