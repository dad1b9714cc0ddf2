"""Softmax attention, by the way that is fastest where it runs."""

from collections.abc import Iterator
from itertools import starmap
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

PART = 1 << 20
"""Bytes of attention weights that are computed at a time, where they are computed twice: few enough for a cache."""


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
        inputs = queries.to(wide), keys.to(wide), values.to(wide)
        if sees is None and queries.ndim > 2:
            return cast(Tensor, _Frugal.apply(*inputs)).to(values.dtype)
        return (_weights(*inputs[:2], sees) @ inputs[2]).to(values.dtype)


def _weights(
    queries: Float[Tensor, "*b q e"], keys: Float[Tensor, "*b n e"], sees: Bool[Tensor, "..."] | None = None
) -> Float[Tensor, "*b q n"]:
    weights = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    if sees is not None:
        weights = weights.masked_fill(~sees, -torch.inf)
    return weights.softmax(dim=-1)


class _Frugal(torch.autograd.Function):
    """Attention that keeps no weights: they are its largest numbers, and a cache's worth is quickly made again."""

    @staticmethod
    def forward(ctx: FunctionCtx, *inputs: Tensor) -> Tensor:
        """What was gathered, from queries, keys and values."""
        ctx.save_for_backward(*inputs)
        return torch.cat([_weights(queries, keys) @ values for queries, keys, values in _in_parts(*inputs)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Those of queries, keys and values."""
        with torch.autocast("cpu", enabled=False):
            parts = starmap(_gradients, _in_parts(*ctx.saved_tensors, *gradients))
            return tuple(map(torch.cat, zip(*parts, strict=True)))


def _in_parts(queries: Tensor, keys: Tensor, *more: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """All of them, some pictures at a time."""
    bytes_each = queries[0, ..., 0].numel() * keys.shape[-2] * queries.element_size()
    count = max(1, PART // bytes_each)
    return zip(*(one.split(count) for one in (queries, keys, *more)), strict=True)


def _gradients(queries: Tensor, keys: Tensor, values: Tensor, gathered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale, weights = queries.shape[-1] ** -0.5, _weights(queries, keys)
    to_weights = gathered @ values.transpose(-1, -2)
    to_scores = torch.ops.aten._softmax_backward_data(to_weights, weights, -1, weights.dtype)
    to_keys = to_scores.transpose(-1, -2) @ (queries * scale)
    return to_scores @ keys * scale, to_keys, weights.transpose(-1, -2) @ gathered


def paid(queries: Float[Tensor, "b h q e"], keys: Float[Tensor, "b h n e"], count: int) -> Float[Tensor, "b p"]:
    """The attention that queries pay to the last `count` keys each: the mean over heads and queries."""
    weights = ((queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)).softmax(dim=-1)
    return weights[..., weights.shape[-1] - count :].mean(dim=(1, 2))
