"""CAMPE's image side: a picture's tokens -> blocks -> attention pooling, one query and one map per segment.

Kim and Angelova 2025 (arXiv:2508.02762) use a ViT with attention pooling, cut its embedding into K segments of D/K
numbers and show one attention map per segment; the rest is chosen here and named:

- a ViT trains its own last blocks; any other trunk, or a ViT frozen as a whole, gets a few new ones on its tokens
- segment k has its own query and its own map (nn/pool.py), as on the text side
- pooling looks at the picture's own tokens alone: class token, registers and prompts act through the blocks, so every
  attention map covers the picture and sums to 1
"""

from functools import partial

import torch
from jaxtyping import Float
from timm.layers.patch_dropout import PatchDropout
from torch import Tensor, nn

from polyprompt.errors import ConfigError, TowerError
from polyprompt.nn.blocks import NewBlock, heads_for
from polyprompt.nn.pool import AttentionPool
from polyprompt.nn.prompts import append, replace_last
from polyprompt.towers.base import INPUT, NOTHING, Change
from polyprompt.towers.timm import TimmTower
from polyprompt.types import Pixels, Segments


class ImageSide(nn.Module):
    """An image tower, trained blocks on it, and attention pooling into K segments.

    Args:
        tower: the cut-open model; its trained blocks are used, or new ones are put on it.
        queries: K, one per segment.
        dim: D, the width of the joint space; K divides it.
        new_blocks: transformer blocks put on the tower's tokens, which are normalised, mapped to `width` and given a
            learned position each. None: one, unless the tower trains blocks of its own.
        width: numbers per token in the new blocks.

    Raises:
        ConfigError: K does not divide D, or new blocks on a tower that trains its own.
    """

    def __init__(
        self, tower: TimmTower, *, queries: int, dim: int, new_blocks: int | None = None, width: int = 384
    ) -> None:
        super().__init__()
        if queries < 1 or dim % queries:
            raise ConfigError(
                f"dim is {dim}, which {queries} segments do not divide; both sides need D / K whole numbers"
            )
        if new_blocks is None:
            new_blocks = 0 if tower.blocks else 1
        if new_blocks < 0 or (new_blocks and tower.blocks):
            raise ConfigError(
                f"new blocks is {new_blocks}, with {len(tower.blocks)} trained blocks of {tower.name}'s own; "
                "use one or the other."
            )
        self.tower = tower
        # The pool and the new blocks' entrance expect normalised tokens.
        self.new_norm = nn.LayerNorm(tower.width) if isinstance(tower.norm, nn.Identity) else None
        self.new_blocks = nn.ModuleList(NewBlock(width, heads_for(width)) for _ in range(new_blocks))
        if new_blocks:
            self.entrance = nn.Linear(tower.width, width)
            self.positions = nn.Parameter(torch.randn(tower.prefix + self.cells, width) * 0.02)
            self.last_norm = nn.LayerNorm(width)
        else:
            width = tower.width
        self.width = width
        self.pool = AttentionPool(width, queries=queries, segment=dim // queries, heads=heads_for(width))

    @property
    def blocks(self) -> nn.ModuleList:
        """The trained blocks: new ones, or the tower's own."""
        return self.new_blocks if self.new_blocks else self.tower.blocks

    @property
    def tokens_norm(self) -> nn.Module:
        """What the tower's tokens are normalised by: its own final norm, or a new one where it has none."""
        return self.tower.norm if self.new_norm is None else self.new_norm

    @property
    def norm(self) -> nn.Module:
        """The norm of the tokens that the pool reads: that of the new blocks, or `tokens_norm` where there are none."""
        return self.last_norm if self.new_blocks else self.tokens_norm

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of an attention map."""
        return self.tower.grid

    @property
    def cells(self) -> int:
        """Tokens of the picture itself, m in an attention map."""
        return self.tower.grid[0] * self.tower.grid[1]

    def forward(self, pixels: Pixels) -> tuple[Segments, Float[Tensor, "b k m"]]:
        """Pictures to segments, with gradients wherever something is trained."""
        return self.segments(self.tower.trunk_tokens(pixels))

    @torch.no_grad()
    def frozen_tokens(self, pixels: Pixels) -> Float[Tensor, "b n c"]:
        """What the frozen trunk makes of pictures: the same in every epoch, to be cached; `segments` goes on from it.

        Raises:
            TowerError: the trunk is trained.
        """
        if self.tower.trunk_trained:
            raise TowerError(
                f"image tower {self.tower.name}: all of it is trained, so nothing can be cached; "
                "train its last blocks alone, or do without the cache."
            )
        return self.tower.trunk_tokens(pixels)

    def segments(self, tokens: Float[Tensor, "b n c"], dropped: float = 0.0) -> tuple[Segments, Float[Tensor, "b k m"]]:
        """Trunk tokens to segments, not normalised, and where each looked.

        Args:
            tokens: from `frozen_tokens`, or the tower's `trunk_tokens`.
            dropped: the share of a picture's own tokens that blocks and pool go without, while training; others in each
                picture and call. At least one stays.

        Returns:
            segments, and attention over the picture's own tokens in reading order: the mean over heads, rows sum to 1.
        """
        states = self.enter(tokens)
        if dropped:
            # timm's, after FLIP (Li et al. 2022, arXiv:2212.00794): places were added before, so the rest keeps them
            states = PatchDropout(dropped, num_prefix_tokens=self.tower.prefix, ordered=True)(states)
        return self.read(self.run(states, 0, len(self.blocks)))

    def enter(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b n d"]:
        """Trunk tokens to the states entering the first of `blocks`."""
        return self.entrance(self.tokens_norm(tokens)) + self.positions if self.new_blocks else tokens

    def run(
        self, states: Float[Tensor, "b n d"], start: int, stop: int, change: Change = NOTHING
    ) -> Float[Tensor, "b m d"]:
        """Blocks `start` to `stop - 1`, counted among the trained ones; rows of the change stand behind the tokens.

        Rows of the input enter block 0.
        """
        count, entering = 0, change.entering
        for index in range(start, stop):
            place = INPUT if index == 0 and INPUT in entering else index
            if place in entering:
                rows = entering[place].given(partial(self._paid, index, states, count))
                states = replace_last(states, rows) if count else append(states, rows)
                count = len(rows)
            branches = change.beside(index)
            states = self.blocks[index](states, branches) if branches else self.blocks[index](states)
        return states

    def _paid(self, index: int, states: Float[Tensor, "b n d"], count: int) -> Float[Tensor, "b p"]:
        """The attention that a new block pays to the `count` rows that stand in it."""
        block = self.blocks[index]
        assert isinstance(block, NewBlock)
        return block.paid(states, count)

    def read(self, states: Float[Tensor, "b n d"]) -> tuple[Segments, Float[Tensor, "b k m"]]:
        """States behind the last block, rows that entered at their end, to segments and where each looked."""
        return self.pool(self.norm(states)[:, self.tower.prefix : self.tower.prefix + self.cells])
