"""Rows of numbers as they lie on disk: fp32, fp16, bf16 or int8; or bytes, as they are.

int8 keeps one scale for 32 numbers, since a few coordinates of an LLM's states are hundreds of times larger than the
rest.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

RowDtype = Literal["fp32", "fp16", "bf16", "int8", "bytes"]
"""fp16 is for numbers below 65,504, such as unit rows, which it keeps eight times as exactly as bf16."""
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
GROUP = 32
"""Numbers that share a scale in int8."""


def row_bytes(width: int, dtype: RowDtype) -> int:
    """Bytes that one row of `width` numbers takes."""
    groups = -(-width // GROUP)
    return {"fp32": 4 * width, "int8": groups * (GROUP + 2), "bytes": width}.get(dtype, 2 * width)


def encode(rows: Shaped[Tensor, "r d"], dtype: RowDtype) -> Shaped[Tensor, "r e"]:
    """Rows as they are kept; int8 is absmax / 127 in groups of 32, with a float16 scale in front of each group."""
    if dtype == "fp32":
        return rows.float().contiguous()
    if dtype == "bytes":
        return rows.to(torch.uint8).contiguous()
    if dtype in HALVES:
        return rows.to(HALVES[dtype]).contiguous()
    padded = torch.nn.functional.pad(rows.float(), (0, -rows.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
    # rounded up to the next float16, so that no number leaves the range
    scale = (padded.abs().amax(dim=-1, keepdim=True) / 127).clamp(1e-7, 6e4).mul(1.001).half()
    steps = (padded / scale.float()).round().clamp(-127, 127).to(torch.int8)
    return torch.cat([scale.view(torch.int8), steps], dim=-1).flatten(1)


def decode(data: UInt8[np.ndarray, "r e"], width: int, dtype: RowDtype) -> Float[Tensor, "r d"]:
    """The float32 rows of the bytes that `encode` gave."""
    kept = torch.from_numpy(np.array(data))  # a copy: the file stays untouched, the tensor is writable
    if dtype == "fp32":
        return kept.view(torch.float32)
    if dtype == "bytes":
        return kept.float()
    if dtype in HALVES:
        return kept.view(HALVES[dtype]).float()
    groups = kept.view(torch.int8).unflatten(1, (-1, GROUP + 2))
    scale = groups[..., :2].contiguous().view(torch.float16).float()
    return (groups[..., 2:].float() * scale).flatten(1)[:, :width].contiguous()
