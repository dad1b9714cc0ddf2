"""Recall at k between images and their captions.

The usual recall of image-text retrieval (Karpathy and Fei-Fei 2015, arXiv:1412.2306): an image counts as found if any
of its captions is among the k best, a caption if its image is. Unlike clip_benchmark, whose top k lets the order of the
data decide between equal scores, a tie counts against the model: one that says the same of everything has recall 0.
Without ties the figures are clip_benchmark's; a test compares them.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.errors import ConfigError, DataError

KS = (1, 5, 10)


Ranks = dict[str, Int[Tensor, "_"]]
"""By direction, the place of each query's best right answer, from 1."""


def recall(
    images: Float[Tensor, "i D"],
    captions: Float[Tensor, "t D"],
    image_of: Int[Tensor, " t"],
    *,
    ks: Sequence[int] = KS,
    block: int = 1024,
) -> dict[str, dict[str, float]]:
    """Share of queries whose best right answer is among the k best answers.

    For k beyond the number of answers recall is 1. The rest is as for `ranks`.

    Returns:
        {"image_to_text": {"recall@1": share, ...}, "text_to_image": {...}}, shares between 0 and 1.

    Raises:
        ConfigError: no k, or a k below 1. DataError, ConfigError: as `ranks`.
    """
    if not ks or min(ks) < 1:
        raise ConfigError(
            f"recall: ks is {tuple(ks)}; it says how many answers count: one number or more, each above 0"
        )
    return {way: shares(places, ks) for way, places in ranks(images, captions, image_of, block=block).items()}


@torch.no_grad()
def ranks(
    images: Float[Tensor, "i D"],
    captions: Float[Tensor, "t D"],
    image_of: Int[Tensor, " t"],
    *,
    grouped: bool = False,
    block: int = 1024,
) -> Ranks:
    """Where the best right answer of each query stands among all answers.

    Caption t describes image `image_of[t]`; scores are dot products, so hand in unit rows for cosines. An image
    without a caption is an answer to choose from, but asks nothing. `block` queries are scored at a time, in float32 or
    better: memory is block * max(i, t) numbers.

    Args:
        grouped: add "image_to_text_grouped": an image's captions count as one answer, by the best of them, so that a
            rank counts wrong images and not wrong captions. CLIP4Clip's rule for videos with several sentences (Luo et
            al. 2021, arXiv:2104.08860); recall at 1 is the same, all else never worse.

    Raises:
        DataError: no image, no caption, a caption of an image that does not exist, NaN or infinity in an embedding.
        ConfigError: a block below 1.
    """
    if block < 1:
        raise ConfigError(f"recall: block is {block}; it counts the queries scored at a time, so at least 1")
    wide = torch.promote_types(torch.promote_types(images.dtype, captions.dtype), torch.float32)
    images, captions, image_of = images.to(wide), captions.to(wide), image_of.to(images.device).long()
    _check("image", images)
    _check("caption", captions)
    if len(image_of) != len(captions):
        raise DataError(f"recall: {len(captions)} captions, but {len(image_of)} numbers in image_of; each takes one")
    outside = ((image_of < 0) | (image_of >= len(images))).nonzero()
    if len(outside):
        t = int(outside[0])
        raise DataError(
            f"recall: caption {t} belongs to image {int(image_of[t])}, but images are numbered 0 to {len(images) - 1}"
        )
    by_image = image_of.argsort(stable=True)
    in_order = torch.arange(len(captions), device=images.device)
    by_way = {
        "image_to_text": 1 + _rivals(images, captions, image_of[by_image], by_image, block).long(),
        "text_to_image": 1 + _rivals(captions, images, in_order, image_of, block).long(),
    }
    if grouped:
        by_way["image_to_text_grouped"] = 1 + _grouped_rivals(images, captions, image_of, block)
    return by_way


def _grouped_rivals(images: Tensor, captions: Tensor, image_of: Tensor, block: int) -> Tensor:
    """For each image with captions, how many other images have a caption that scores as high as its own best one."""
    counts = []
    for start in range(0, len(images), block):
        scores = images[start : start + block] @ captions.T
        best = scores.new_full((len(scores), len(images)), -torch.inf)
        best.scatter_reduce_(1, image_of.expand(len(scores), -1), scores, "amax")
        own_best = best.diagonal(start)[:, None]
        counts.append((best >= own_best).sum(dim=1)[own_best[:, 0].isfinite()] - 1)
    return torch.cat(counts)


def _rivals(queries: Tensor, answers: Tensor, asking: Tensor, right: Tensor, block: int) -> Tensor:
    """For each query with a right answer, how many wrong answers score at least as high as its best right one.

    Query asking[p] has the right answer right[p]; `asking` ascends. A count takes no sort and no top k. The right
    answers' scores come out of the same product as the wrong ones': another might round the other way, and equal
    embeddings would no longer tie.
    """
    counts = []
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ answers.T
        ends = torch.tensor([start, start + len(scores)], device=asking.device)
        first, last = torch.searchsorted(asking, ends).tolist()
        rows, columns = asking[first:last] - start, right[first:last]
        best = scores.new_full((len(scores),), -torch.inf)
        best.scatter_reduce_(0, rows, scores[rows, columns], "amax")
        scores[rows, columns] = -torch.inf
        # In place this leaves 1.0 and 0.0, whose sum is several times faster than a count of booleans.
        counts.append(scores.ge_(best[:, None]).sum(dim=1)[rows.unique()])
    return torch.cat(counts)


def shares(ranks: Int[Tensor, "q"], ks: Sequence[int] = KS) -> dict[str, float]:
    """The share of ranks up to each k."""
    return {f"recall@{k}": float((ranks <= k).double().mean()) for k in ks}


def middle(ranks: Int[Tensor, "q"]) -> dict[str, float]:
    """Median and mean rank, MdR and MnR; the median of an even number lies between the two in the middle."""
    return {"median_rank": float(ranks.double().quantile(0.5)), "mean_rank": float(ranks.double().mean())}


def _check(name: str, rows: Tensor) -> None:
    if not len(rows):
        raise DataError(f"recall: there is no {name}; it takes one or more of both")
    # The norm, not the numbers: where it is finite, no dot product can overflow to NaN and win by it.
    bad = (~rows.norm(dim=1).isfinite()).nonzero().flatten()
    if len(bad):
        raise DataError(
            f"recall: the embedding of {name} {int(bad[0])} holds NaN or infinity ({len(bad)} of {len(rows)} do); "
            "look for a diverged run, or an overflow in half precision"
        )
