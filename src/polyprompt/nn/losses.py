"""Losses on embeddings: softmax and sigmoid contrast in tiles, diversity, negation, drift.

**Contrast in tiles.** The n x n logits of a batch are never held: they are made tile by tile, once for the value and
once more for the gradient, which is written out by hand. Memory beyond the embeddings and their gradients is a few
tiles, whatever n is; the numbers are those of the dense loss.

**Several processes.** Where torch.distributed is initialised, each process hands in its own rows and every loss here
runs over the rows of all. Each returns the mean over its own rows, so that the mean over the processes is the loss of
one process with the whole batch, and the mean of their gradients (what DDP takes) is its gradient. So every process
has to call the loss, and go backward, together, with equally many rows.

The softmax contrast is that of CLIP (Radford et al. 2021, arXiv:2103.00020, figure 3), the sigmoid contrast that of
SigLIP (Zhai et al. 2023, arXiv:2303.15343, equation 1). Diversity and negation are CAMPE's (Kim and Angelova 2025,
arXiv:2508.02762, sections 3.4 and 3.5), whose exact forms we could not establish: what stands here is our choice.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from polyprompt.errors import ConfigError, TrainingError

TILE = 1024
"""Rows and columns of a tile of logits: 4 MiB in float32, near the fastest on processors."""

Columns = Literal["own", "all", "hinge"]


def softmax_contrast(
    texts: Float[Tensor, "b D"], images: Float[Tensor, "b D"], scale: Float[Tensor, ""], *, tile: int = TILE
) -> Float[Tensor, ""]:
    """Each text picks its image among all images, each image its text among all texts: mean cross-entropy, both ways.

    Rows are unit vectors, row i of one belongs to row i of the other; `scale` is the inverse temperature, above 0.
    In nats. Gradients reach all three. Half precision is raised to float32.

    Raises:
        ConfigError: `tile` is below 1.
        TrainingError: the processes hold different numbers of rows.
    """
    per_text, per_image = _cross_entropies(texts, images, scale, tile)
    return (per_text.mean() + per_image.mean()) / 2


def sigmoid_contrast(
    texts: Float[Tensor, "b D"],
    images: Float[Tensor, "b D"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
    *,
    tile: int = TILE,
) -> Float[Tensor, ""]:
    """Each pair of a text and an image is asked on its own whether it belongs together.

    The sum over all pairs of -log sigmoid(+-(scale <text, image> + bias)), divided by the number of images (not of
    pairs: a text's loss grows with the batch, as in the paper). Gradients reach all four tensors.

    Raises:
        ConfigError: `tile` is below 1.
        TrainingError: the processes hold different numbers of rows.
    """
    texts, images = _checked(texts, images, tile)
    # The bias rides along as one more coordinate: <[scale t, bias], [v, 1]> = scale <t, v> + bias.
    left = torch.cat([scale * texts, bias.to(texts).expand(len(texts), 1)], dim=1)
    right = torch.cat([images, images.new_ones(len(images), 1)], dim=1)
    return _PairLosses.apply(left, right, tile) / len(texts)


def negation(
    images: Float[Tensor, "b D"],
    texts: Float[Tensor, "b D"],
    negated: Float[Tensor, "b D"],
    scale: Float[Tensor, ""],
    *,
    columns: Columns = "own",
    margin: float = 0.2,
    tile: int = TILE,
) -> Float[Tensor, ""]:
    """An image's own text has to win against negated texts too.

    `negated` holds the embeddings of the same captions behind the negated prompts ("does NOT mean:").

    own    the image-to-text cross-entropy with one more column, the image's own negated text: n + 1 choices
    all    the same with every negated text of the batch: 2n choices
    hinge  max(0, margin + <image, own negated text> - <image, own text>), without a scale; the default margin is
           that of VSE++ (Faghri et al. 2018, arXiv:1707.05612)

    Gradients reach all tensors (`scale` not in `hinge`).

    Raises:
        ConfigError: `columns` is none of the three, or `tile` is below 1.
        TrainingError: the processes hold different numbers of rows.
    """
    wide = torch.promote_types(images.dtype, torch.float32)
    ahead = (images.to(wide) * (negated.to(wide) - texts.to(wide))).sum(dim=1)  # the negated text, before the own one
    match columns:
        case "hinge":
            return F.relu(margin + ahead).mean()
        case "own":
            _, per_image = _cross_entropies(texts, images, scale, tile)
            return torch.logaddexp(per_image, scale * ahead).mean()
        case "all":
            _, per_image = _cross_entropies(texts, images, scale, tile)
            _, per_negated = _cross_entropies(negated, images, scale, tile)
            # The second is -log p(own negated text); `scale * ahead` moves its zero to the own text's logit.
            return torch.logaddexp(per_image, per_negated + scale * ahead).mean()
        case _:
            raise ConfigError(f"negation: columns is {columns!r}; allowed are 'own', 'all' and 'hinge'")


def diversity(readouts: Float[Tensor, "b k d"]) -> Float[Tensor, ""]:
    """How alike the k read-outs of a caption are: the mean squared cosine over pairs of prompts and over the batch.

    Each prompt's read-outs are centred over the batch (of all processes) first, since states of a language model
    share a large common direction that says nothing about the caption. 0 where prompts say orthogonal things, 1
    where they say the same; 0 for a single prompt, which has no pairs. The square pulls towards orthogonality
    and rewards no opposites. For segments behind maps of their own it means nothing: they share no coordinates.
    """
    k = readouts.shape[1]
    if k < 2:
        return readouts.new_zeros(())
    _check_shares(readouts)
    readouts = readouts.to(torch.promote_types(readouts.dtype, torch.float32))
    units = F.normalize(readouts - _Sum.apply(readouts.sum(dim=0)) / (len(readouts) * _place()[1]), dim=-1)
    first, second = torch.triu_indices(k, k, offset=1, device=readouts.device)
    return (units[:, first] * units[:, second]).sum(dim=-1).square().mean()


def agreement(texts: Float[Tensor, "b k e"], images: Float[Tensor, "b k e"]) -> Float[Tensor, ""]:
    """How alike the k segments judge: the mean squared correlation of their scores, over pairs of segments.

    Segment k scores <text_k, image_k>; the correlation runs over all texts x images of the batch (of all processes).
    0 where each segment ranks in its own way, 1 where one would do for all; 0 for a single segment. It needs no common
    coordinates, so it holds behind maps of their own, and it cannot be fooled by turning a segment on both sides.
    """
    k = texts.shape[1]
    if k < 2:
        return texts.new_zeros(())
    _check_shares(texts)
    wide = torch.promote_types(texts.dtype, torch.float32)
    with torch.autocast(texts.device.type, enabled=False):
        correlation = score_correlation(_moments(texts.to(wide)), _moments(images.to(wide)))
    first, second = torch.triu_indices(k, k, offset=1, device=texts.device)
    return correlation[first, second].square().mean()


Moments = tuple[Float[Tensor, "k e"], Float[Tensor, "k e k e"]]
"""Mean and covariances of k segments."""


def score_correlation(texts: Moments, images: Moments) -> Float[Tensor, "k k"]:
    """The correlations (Pearson) of the segments' scores <text_k, image_k> over all pairs of a text and an image.

    A segment whose score never changes correlates with none (0).

    Exact, without the scores: with texts = mean + a and images = mean + b, the covariance of s_k and s_l is
    m_k' A_kl m_l + n_k' B_kl n_l + <A_kl, B_kl>, where m, n are the mean image and text, A_kl and B_kl the e x e
    covariances of a and b. Time is that of two Gram matrices.
    """
    (mean_text, text_gram), (mean_image, image_gram) = texts, images
    covariance = (
        torch.einsum("ke,kelf,lf->kl", mean_image, text_gram, mean_image)
        + torch.einsum("ke,kelf,lf->kl", mean_text, image_gram, mean_text)
        + torch.einsum("kelf,kelf->kl", text_gram, image_gram)
    )
    variance = covariance.diagonal()
    means = (mean_text * mean_image).sum(dim=1)
    moving = variance > torch.finfo(variance.dtype).eps ** 1.5 * (variance + means.square())  # below: rounding
    deviation = torch.where(moving, variance, 1.0).sqrt()
    return torch.where(moving[:, None] & moving, covariance / (deviation[:, None] * deviation), 0.0)


def _moments(segments: Float[Tensor, "b k e"]) -> Moments:
    """Over the batch of all processes."""
    _, k, e = segments.shape
    count = len(segments) * _place()[1]
    mean = _Sum.apply(segments.sum(dim=0)) / count
    centred = (segments - mean).flatten(1)
    return mean, (_Sum.apply(centred.T @ centred) / count).view(k, e, k, e)


def drift(prompted: Float[Tensor, "n d"], frozen: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """How far prompting has moved the features: mean absolute difference of unit rows.

    L_SCL-text and L_SCL-image of PromptSRC (Khattak et al. 2023, arXiv:2307.06948, "mutual
    agreement maximization"). The mean runs over n and d, as in the authors' code
    (muzairkhattak/PromptSRC, trainers/promptsrc.py, line 300); their weights 25 and 10 assume it.
    `frozen` receives no gradient.
    """
    return (F.normalize(prompted, dim=-1) - F.normalize(frozen.detach(), dim=-1)).abs().mean()


# Contrast in tiles. Inside, `left` are this process's texts, already scaled, and `right` the images of all processes.
# The own image of row i is column `first + i`, where `first` is the number of rows of the processes before this one.


def _cross_entropies(texts: Tensor, images: Tensor, scale: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """-log p(own image | text) for each text and -log p(own text | image) for each image of this process."""
    texts, images = _checked(texts, images, tile)
    return _CrossEntropies.apply(scale * texts, images, tile)


def _checked(texts: Tensor, images: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """Both in float32 at least, once it is clear that they can be cut in tiles and gathered."""
    if tile < 1:
        raise ConfigError(f"tile is {tile}; it counts the rows of a tile of logits, so at least 1")
    _check_shares(texts)
    wide = torch.promote_types(texts.dtype, torch.float32)
    return texts.to(wide), images.to(wide)


class _CrossEntropies(torch.autograd.Function):
    """Of the logits l = left @ right.T: log sum_j exp(l_ij - l_ii) for each row, log sum_i exp(l_ij - l_jj) per column.

    Differences to the own logit, not logits: a well-aligned batch at scale 100 has own logits near 100, where float32
    goes in steps of 1e-5, and losses far below that.
    """

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, tile: int) -> tuple[Tensor, Tensor]:
        own = (left * right).sum(dim=1)
        right, owns, first = _gathered(right), _gathered(own), _first(left)
        rows = left.new_full((len(left),), -math.inf)
        columns = left.new_full((len(right),), -math.inf)
        for i, j, logits in _tiles(left, right, tile):
            pairs, offset = _pairs(i, j, first)
            logits.diagonal(offset).copy_(own[pairs])  # to the last bit, so that the difference is 0
            rows[i] = torch.logaddexp(rows[i], (logits - own[i, None]).logsumexp(dim=1))
            columns[j] = torch.logaddexp(columns[j], (logits - owns[j]).logsumexp(dim=0))
        columns = _gathered(columns[None]).logsumexp(dim=0)  # each process saw its own rows only
        ctx.tile = tile
        ctx.save_for_backward(left, right, own, owns, rows, columns)
        return rows, columns[first : first + len(left)].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, d_rows: Tensor, d_columns: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        left, right, own, owns, rows, columns = ctx.saved_tensors
        first = _first(left)
        # p - 1 without cancellation: exp(-loss) is the probability of the own column.
        at_own = d_rows * (-rows).expm1() + d_columns * (-columns[first : first + len(left)]).expm1()
        d_columns = _gathered(d_columns)

        def slope(i: slice, j: slice, logits: Tensor) -> Tensor:
            # Two subtractions each, in the order of forward: `own + rows` rounds, and at large scales exp overflows.
            slopes = (logits - own[i, None]).sub_(rows[i, None]).exp_().mul_(d_rows[i, None])
            slopes += logits.sub_(owns[j]).sub_(columns[j]).exp_().mul_(d_columns[j])
            pairs, offset = _pairs(i, j, first)
            slopes.diagonal(offset).copy_(at_own[pairs])
            return slopes

        return *_gradients(left, right, ctx.tile, slope), None


class _PairLosses(torch.autograd.Function):
    """The sum of -log sigmoid(+-l) over this process's rows of l = left @ right.T; plus where row and column match."""

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor, tile: int) -> Tensor:
        right, first = _gathered(right), _first(left)
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
        first = _first(left)

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
    first = _first(left)
    return d_left, _summed(d_right)[first : first + len(left)]


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


# Several processes.


def _place() -> tuple[int, int]:
    """This process's number, and how many there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _first(mine: Tensor) -> int:
    """How many rows the processes before this one hold."""
    return _place()[0] * len(mine)


def _gathered(mine: Tensor) -> Tensor:
    """The rows of all processes, in their order; no gradient."""
    _, processes = _place()
    if processes == 1:
        return mine
    rows = mine.new_empty((processes * len(mine), *mine.shape[1:]))
    distributed.all_gather(list(rows.chunk(processes)), mine.contiguous())
    return rows


def _summed(mine: Tensor) -> Tensor:
    """The sum over all processes, written over `mine`; no gradient."""
    if _place()[1] > 1:
        distributed.all_reduce(mine)
    return mine


class _Sum(torch.autograd.Function):
    """The sum over all processes; each of them gets the gradient of what all make of it."""

    @staticmethod
    def forward(ctx, mine: Tensor) -> Tensor:
        return _summed(mine.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx, d_sum: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _summed(d_sum.clone())


def _check_shares(mine: Tensor) -> None:
    _, processes = _place()
    if processes == 1:
        return
    counts = _gathered(torch.tensor([len(mine)], device=mine.device)).tolist()
    if min(counts) < max(counts):
        raise TrainingError(
            f"the processes hold {', '.join(map(str, counts))} rows of one batch; the losses need equally many "
            f"in each. Take a batch size that {processes} divides, and leave out the last, shorter batch."
        )
