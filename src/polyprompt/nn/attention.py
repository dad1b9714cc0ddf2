"""Softmax attention, by the way that is fastest where it runs."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def attention(
    queries: Float[Tensor, "*b q e"],
    keys: Float[Tensor, "*b n e"],
    values: Float[Tensor, "*b n e"],
    sees: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*b q e"]:
    """softmax(queries keys^T / sqrt(e)) values; with `sees` [*b q n] over the keys that a query sees, one at least.

    On a CPU torch's fused attention is slow backwards, so products are written out there wherever a gradient is wanted;
    in single precision under autocast too, which is still faster than the fused one in bfloat16. (In bfloat16 the
    gradient of softmax, a difference of nearly equal numbers, loses its direction.)
    """
    if queries.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=sees)
    wide = torch.promote_types(queries.dtype, torch.float32)
    with torch.autocast("cpu", enabled=False):
        weights = (queries.to(wide) * queries.shape[-1] ** -0.5) @ keys.to(wide).transpose(-1, -2)
        if sees is not None:
            weights = weights.masked_fill(~sees, -torch.inf)
        return (weights.softmax(dim=-1) @ values.to(wide)).to(values.dtype)


def paid(queries: Float[Tensor, "b h q e"], keys: Float[Tensor, "b h n e"], count: int) -> Float[Tensor, "b p"]:
    """The attention that queries pay to the last `count` keys each: the mean over heads and queries."""
    weights = ((queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)).softmax(dim=-1)
    return weights[..., weights.shape[-1] - count :].mean(dim=(1, 2))
