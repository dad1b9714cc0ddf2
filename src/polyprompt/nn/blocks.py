"""A plain pre-norm transformer block, for new layers on top of a frozen trunk (Xiong et al. 2020, arXiv:2002.04745)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.errors import ConfigError
from polyprompt.nn.attention import attention, paid
from polyprompt.nn.branches import NONE, Branches, Place, beside

QKV: tuple[Place, ...] = ("query", "key", "value")


class NewBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); every token sees every other, GELU, no dropout.

    The same function as `nn.TransformerEncoderLayer(norm_first=True, activation="gelu", dropout=0)`, without its
    separate inference path, whose results and gradients differ between modes.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, heads: int, *, mlp_ratio: int = 4) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))
        for layer in (self.qkv, self.proj, self.mlp[0], self.mlp[2]):
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Float[Tensor, "b m d"], branches: Branches = NONE) -> Float[Tensor, "b m d"]:
        """Token states after the block."""
        entering = self.norm1(tokens)
        gathered = self.attend(self._qkv(entering, branches))
        tokens = tokens + beside("out", gathered, self.proj(gathered), branches)
        half = self.norm2(tokens)
        tokens = tokens + beside("mlp", half, self.mlp(half), branches)
        return beside("block", entering, tokens, branches)

    def _qkv(self, entering: Float[Tensor, "b m d"], branches: Branches) -> Float[Tensor, "b m e"]:
        """Queries, keys and values side by side."""
        qkv = self.qkv(entering)
        if not {"query", "key", "value"} & branches.keys():
            return qkv
        parts = zip(QKV, qkv.chunk(3, dim=-1), strict=True)
        return torch.cat([beside(place, entering, part, branches) for place, part in parts], dim=-1)

    def attend(self, qkv: Float[Tensor, "b m e"]) -> Float[Tensor, "b m d"]:
        """Softmax attention of all tokens over all tokens; queries, keys and values lie side by side in `qkv`."""
        queries, keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        return attention(queries, keys, values).transpose(1, 2).flatten(2)

    @torch.no_grad()
    def paid(self, tokens: Float[Tensor, "b m d"], count: int) -> Float[Tensor, "b p"]:
        """The attention that the other tokens would pay here to the last `count` (nn/attention.py)."""
        qkv = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return paid(qkv[0][:, :, : tokens.shape[1] - count], qkv[1], count)


def check_heads(width: int, heads: int) -> None:
    """Refuse a number of attention heads that does not divide the width."""
    if heads < 1 or width % heads:
        raise ConfigError(f"heads is {heads}; it must divide the width {width}")


def heads_for(width: int) -> int:
    """As many attention heads as divide the width and leave each at least 64 numbers, as in ViTs; at least one."""
    return max(heads for heads in range(1, max(1, width // 64) + 1) if width % heads == 0)
