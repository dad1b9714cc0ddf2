"""Contrast in tiles: losses on the logits of all pairs of a batch, without ever holding them.

The n x n logits are made tile by tile, once for the value and once more for the gradient, which is written out by hand.
Memory beyond the embeddings and their gradients is a few tiles, whatever n is; the numbers are those of the dense loss.

`left` are this process's texts, already scaled, and `right` this process's images; all processes' images are gathered.
The own image of row i is column `first + i`, where `first` is the number of rows of the processes before this one.
"""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from polyprompt.errors import ConfigError
from polyprompt.nn.processes import check_shares, first_row, gathered, summed


def cross_entropies(texts: Tensor, images: Tensor, scale: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """-log p(own image | text) for each text and -log p(own text | image) for each image of this process."""
    texts, images = checked(texts, images, tile)
    return _CrossEntropies.apply(scale * texts, images, tile)


def pair_losses(left: Tensor, right: Tensor, tile: int) -> Tensor:
    """The sum of -log sigmoid(+-l) over this process's rows of l = left @ right.T; plus where row and column match."""
    return _PairLosses.apply(left, right, tile)


def checked(texts: Tensor, images: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """Both in float32 at least, once it is clear that they can be cut in tiles and gathered."""
    if tile < 1:
        raise ConfigError(f"tile is {tile}; it counts the rows of a tile of logits, so at least 1")
    check_shares(texts)
    wide = torch.promote_types(texts.dtype, torch.float32)
    return texts.to(wide), images.to(wide)


class _CrossEntropies(torch.autograd.Function):
    """Of the logits l = left @ right.T: log sum_j exp(l_ij - l_ii) for each row, log sum_i exp(l_ij - l_jj) per column.

    Differences to the own logit, not logits: a well-aligned batch at scale 100 has own logits near 100, where float32
    goes in steps of 1e-5, and losses far below that.
    """

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, tile: int) -> tuple[Tensor, Tensor]:
        matching = (left * right).sum(dim=1)
        right, all_matching, first = gathered(right), gathered(matching), first_row(left)
        rows = left.new_full((len(left),), -math.inf)
        columns = left.new_full((len(right),), -math.inf)
        for i, j, logits in _tiles(left, right, tile):
            pairs, offset = _pairs(i, j, first)
            logits.diagonal(offset).copy_(matching[pairs])  # to the last bit, so that the difference is 0
            rows[i] = torch.logaddexp(rows[i], (logits - matching[i, None]).logsumexp(dim=1))
            columns[j] = torch.logaddexp(columns[j], (logits - all_matching[j]).logsumexp(dim=0))
        columns = gathered(columns[None]).logsumexp(dim=0)  # each process saw its own rows only
        ctx.tile = tile
        ctx.save_for_backward(left, right, matching, all_matching, rows, columns)
        return rows, columns[first : first + len(left)].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_rows: Tensor, d_columns: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        left, right, matching, all_matching, rows, columns = ctx.saved_tensors
        first = first_row(left)
        # p - 1 without cancellation: exp(-loss) is the probability of the own column.
        at_matching = d_rows * (-rows).expm1() + d_columns * (-columns[first : first + len(left)]).expm1()
        d_columns = gathered(d_columns)

        def slope(i: slice, j: slice, logits: Tensor) -> Tensor:
            # Two subtractions each, in the order of forward: `matching + rows` rounds; at large scales exp overflows.
            slopes = (logits - matching[i, None]).sub_(rows[i, None]).exp_().mul_(d_rows[i, None])
            slopes += logits.sub_(all_matching[j]).sub_(columns[j]).exp_().mul_(d_columns[j])
            pairs, offset = _pairs(i, j, first)
            slopes.diagonal(offset).copy_(at_matching[pairs])
            return slopes

        return *_gradients(left, right, ctx.tile, slope), None


class _PairLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, tile: int) -> Tensor:
        right, first = gathered(right), first_row(left)
        total = left.new_zeros(())
        for i, j, logits in _tiles(left, right, tile):
            _, offset = _pairs(i, j, first)
            logits.neg_().diagonal(offset).neg_()
            total -= F.logsigmoid(logits).sum()
        ctx.tile = tile
        ctx.save_for_backward(left, right)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, d_total: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        left, right = ctx.saved_tensors
        first = first_row(left)

        def slope(i: slice, j: slice, logits: Tensor) -> Tensor:
            _, offset = _pairs(i, j, first)
            logits.diagonal(offset).neg_()
            logits.sigmoid_().diagonal(offset).neg_()
            return logits.mul_(d_total)

        return *_gradients(left, right, ctx.tile, slope), None


def _gradients(
    left: Tensor, right: Tensor, tile: int, slope: Callable[[slice, slice, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Gradients of this process's rows of left and right, from the slope of the loss at each logit of a tile."""
    d_left, d_right = torch.zeros_like(left), torch.zeros_like(right)
    for i, j, logits in _tiles(left, right, tile):
        slopes = slope(i, j, logits)
        d_left[i].addmm_(slopes, right[j])
        d_right[j].addmm_(slopes.T, left[i])
    first = first_row(left)
    return d_left, summed(d_right)[first : first + len(left)]


def _tiles(left: Tensor, right: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows i, columns j, and a fresh tensor of the logits there; not in half precision, autocast or no autocast."""
    for i in _slices(len(left), tile):
        for j in _slices(len(right), tile):
            with torch.autocast(left.device.type, enabled=False):
                logits = left[i] @ right[j].T
            yield i, j, logits


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _pairs(i: slice, j: slice, first: int) -> tuple[slice, int]:
    """Which rows have their own column in this tile (often none), and on which of the tile's diagonals it lies."""
    start = max(i.start, j.start - first)
    return slice(start, max(start, min(i.stop, j.stop - first))), first + i.start - j.start
