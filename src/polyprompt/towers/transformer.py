"""The pre-norm transformer block that CLIP, SigLIP and their descendants share, open to branches and to sharing.

Parameter names are those of OpenAI's CLIP (github.com/openai/CLIP); other families are renamed to them when they are
read. A block is told how its tokens attend, which rows of its result are wanted (the last block computes the readout
row alone), and which branches stand beside its layers. A branch is given just the rows that its place computes.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.errors import TowerError
from polyprompt.nn.attention import attention, paid
from polyprompt.nn.branches import NONE, Branches, beside

Attend: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Queries [.. d] and keys beside values [.. 2d] to what was gathered; heads lie side by side in each."""

PART = 1024
"""Rows that an MLP takes at a time where a gradient is wanted: its inner states then come and go in one size."""

Rows: TypeAlias = Callable[[Tensor], Tensor]
"""Picks the token states whose results are wanted."""


def quick_gelu(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """x * sigmoid(1.702 x): OpenAI's stand-in for GELU."""
    return F.silu(1.702 * x) / 1.702


def gelu_tanh(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
    """GELU by its tanh approximation, as SigLIP has it."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": gelu_tanh,
}


class Scale(nn.Module):
    """Layer scale (Touvron et al. 2021): one learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """x * gamma, channel by channel."""
        return x * self.gamma


class Attention(nn.Module):
    """The projections of multi-head attention; what looks at what is the caller's business."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, states: Float[Tensor, "*n d"], wanted: Float[Tensor, "*q d"], attend: Attend, branches: Branches = NONE
    ) -> Float[Tensor, "*q d"]:
        """Attention of the `wanted` over all of `states`."""
        width = states.shape[-1]
        queries = F.linear(wanted, self.in_proj_weight[:width], self.in_proj_bias[:width])
        queries = beside("query", wanted, queries, branches)
        both = F.linear(states, self.in_proj_weight[width:], self.in_proj_bias[width:])
        if "key" in branches or "value" in branches:
            keys, values = both.chunk(2, dim=-1)
            keys, values = beside("key", states, keys, branches), beside("value", states, values, branches)
            both = torch.cat([keys, values], dim=-1)
        gathered = attend(queries, both)
        return beside("out", gathered, self.out_proj(gathered), branches)


class MLP(nn.Module):
    """Two linear maps with an activation between them."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise TowerError(f"activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[activation]
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """c_proj(activation(c_fc(x)))."""
        rows = x.flatten(0, -2)
        run = self._quick if self.activation is quick_gelu else self._usual
        if torch.is_grad_enabled() and len(rows) > PART:
            return torch.cat([run(part) for part in rows.split(PART)]).unflatten(0, x.shape[:-1])
        return run(rows).unflatten(0, x.shape[:-1])

    def _usual(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return self.c_proj(self.activation(self.c_fc(x)))

    def _quick(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """x * sigmoid(1.702 x) is silu(1.702 x) / 1.702, and the matrix products can do the scaling on their way."""
        hidden = torch.addmm(self.c_fc.bias, x, self.c_fc.weight.T, beta=1.702, alpha=1.702)
        return torch.addmm(self.c_proj.bias, F.silu(hidden), self.c_proj.weight.T, alpha=1 / 1.702)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, width: int, hidden: int, activation: str, eps: float, *, scaled: bool = False) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width)
        self.ls_1 = Scale(width) if scaled else nn.Identity()
        self.ln_2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, hidden, activation)
        self.ls_2 = Scale(width) if scaled else nn.Identity()

    def forward(
        self, states: Float[Tensor, "*n d"], attend: Attend, rows: Rows | None = None, branches: Branches = NONE
    ) -> Float[Tensor, "*q d"]:
        """Token states after the block: of all tokens, or of `rows(states)` alone."""
        with self._products(states):
            return self._run(states, attend, rows, branches)

    def _products(self, states: Tensor) -> torch.autocast | nullcontext[None]:
        """Matrices that are held in bf16 are multiplied in it; states and norms stay fp32."""
        if self.attn.in_proj_weight.dtype == torch.bfloat16:
            return torch.autocast(states.device.type, torch.bfloat16)
        return nullcontext()

    def _run(self, states: Tensor, attend: Attend, rows: Rows | None, branches: Branches) -> Tensor:
        entering = self.ln_1(states)
        kept, wanted = (states, entering) if rows is None else (rows(states), rows(entering))
        kept = kept + self.ls_1(self.attn(entering, wanted, attend, branches))
        half = self.ln_2(kept)
        kept = kept + self.ls_2(beside("mlp", half, self.mlp(half), branches))
        return beside("block", wanted, kept, branches)

    @torch.no_grad()
    def paid(self, states: Float[Tensor, "b n d"], count: int, heads: int) -> Float[Tensor, "b p"]:
        """The attention that the other tokens would pay here to the last `count` (nn/attention.py)."""
        width, entering = states.shape[-1], self.ln_1(states)
        with self._products(states):
            both = F.linear(entering, self.attn.in_proj_weight[: 2 * width], self.attn.in_proj_bias[: 2 * width])
        queries, keys = both.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        return paid(queries[:, :, : states.shape[1] - count], keys, count)


class Stack(nn.Module):
    """Blocks, under the name that OpenAI's layout gives them."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)

    def __len__(self) -> int:
        return len(self.resblocks)

    def matrices(self) -> list[nn.Parameter]:
        """The weights that are multiplied, which are nearly all there is."""
        return [parameter for parameter in self.resblocks.parameters() if parameter.ndim > 1]


def attend_all(queries: Float[Tensor, "b q d"], both: Float[Tensor, "b m e"], heads: int) -> Float[Tensor, "b q d"]:
    """Softmax attention of every query over every token; `both` holds keys beside values."""
    query = queries.unflatten(-1, (heads, -1)).transpose(1, 2)
    key, value = both.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
    return attention(query, key, value).transpose(1, 2).flatten(2)
