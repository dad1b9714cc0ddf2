"""Attention pooling with one query per segment: segment k of an image embedding looks where query k looks.

CAMPE (Kim and Angelova 2025, arXiv:2508.02762) pools its image tower with attention and compares the image's K
segments with the K prompts' readouts; its figure shows one attention map per segment. How the queries and maps are
built is not known: here every segment has its own query and its own map to D/K numbers, as the text side has.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.nn.blocks import check_heads


class AttentionPool(nn.Module):
    """K learned queries over a picture's tokens; what query k gathers becomes segment k.

    Per head: attention = softmax over tokens of query . key / sqrt(width / heads). The heads' gathered values stand
    side by side, and a map of the segment's own, without bias, takes them to `segment` numbers.

    Args:
        width: d, numbers per token. Tokens are expected normalised.
        queries: K, one per segment.
        segment: e = D / K, numbers per segment.
        heads: attention heads; they divide the width.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, *, queries: int, segment: int, heads: int) -> None:
        super().__init__()
        check_heads(width, heads)
        # On unit-variance keys logits then start with a standard deviation of 1/2: close to a mean over the tokens,
        # yet every query leans its own way from the first step on.
        self.queries = nn.Parameter(torch.randn(queries, heads, width // heads) / 2)
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.maps = nn.Parameter(torch.randn(queries, width, segment) * width**-0.5)
        for layer in (self.keys, self.values):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Float[Tensor, "b m d"]) -> tuple[Float[Tensor, "b k e"], Float[Tensor, "b k m"]]:
        """Segments, and where each looked: attention is the mean over heads, every row sums to 1."""
        _, heads, head_width = self.queries.shape
        keys = self.keys(tokens).unflatten(-1, (heads, head_width))
        values = self.values(tokens).unflatten(-1, (heads, head_width))
        logits = torch.einsum("khc,bmhc->bkhm", self.queries, keys) * head_width**-0.5
        attention = logits.softmax(dim=-1)
        gathered = torch.einsum("bkhm,bmhc->bkhc", attention, values).flatten(2)
        return torch.einsum("bkd,kde->bke", gathered, self.maps), attention.mean(dim=2)
