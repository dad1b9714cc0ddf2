"""Losses on embeddings, softmax and sigmoid contrast, CoSENT, negation, diversity, agreement, drift; and on scores of
classes.

The contrasts run in tiles (`nn/tiles.py`): a batch of any size in bounded memory. Where torch.distributed is
initialised, each process hands in its own rows and every loss here runs over the rows of all. Each returns
the mean over its own rows, so that the mean over the processes is the loss of one process with the whole batch, and the
mean of their gradients (what DDP takes) is its gradient. So every process has to call the loss, and go backward,
together, with equally many rows.

The softmax contrast is that of CLIP (Radford et al. 2021, arXiv:2103.00020, figure 3), the sigmoid contrast that of
SigLIP (Zhai et al. 2023, arXiv:2303.15343, equation 1). Diversity and negation are CAMPE's (Kim and Angelova 2025,
arXiv:2508.02762, sections 3.4 and 3.5), whose exact forms we could not establish: what stands here is our choice.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.errors import ConfigError
from polyprompt.nn.processes import check_shares, gathered, place, summed, total
from polyprompt.nn.segments import Moments, score_correlation
from polyprompt.nn.tiles import checked, cross_entropies, pair_losses

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
    per_text, per_image = cross_entropies(texts, images, scale, tile)
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
    texts, images = checked(texts, images, tile)
    # The bias rides along as one more coordinate: <[scale t, bias], [v, 1]> = scale <t, v> + bias.
    left = torch.cat([scale * texts, bias.to(texts).expand(len(texts), 1)], dim=1)
    right = torch.cat([images, images.new_ones(len(images), 1)], dim=1)
    return pair_losses(left, right, tile) / len(texts)


def cosent(cosines: Float[Tensor, "b"], scores: Float[Tensor, "b"], scale: float = 20.0) -> Float[Tensor, ""]:
    """Of two pairs the one that people score higher shall have the higher cosine.

    log(1 + sum over i, j with score_i > score_j of exp(scale (cosine_j - cosine_i))), over the pairs of all processes:
    CoSENT (Su 2022, kexue.fm/archives/8847, whose scale is 20, too; sentence-transformers' CoSENTLoss is the same
    function). It looks at the order alone, which is what Spearman's correlation scores; a regression of cosines on
    scores would first have to say which cosine a 3 of 5 is. 0 where all scores are the same.
    """
    check_shares(cosines)
    rank, processes = place()
    wide, count = torch.promote_types(cosines.dtype, torch.float32), len(cosines)
    # Own rows among zeros, then summed: the rows of all, with gradients of what all processes make of them.
    cosines = total(F.pad(cosines.to(wide), (rank * count, (processes - 1 - rank) * count)))
    scores = gathered(scores)
    ahead = scale * (cosines[None, :] - cosines[:, None])
    wrong = ahead[scores[:, None] > scores[None, :]]
    return torch.cat([wrong.new_zeros(1), wrong]).logsumexp(dim=0)


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
            _, per_image = cross_entropies(texts, images, scale, tile)
            return torch.logaddexp(per_image, scale * ahead).mean()
        case "all":
            _, per_image = cross_entropies(texts, images, scale, tile)
            _, per_negated = cross_entropies(negated, images, scale, tile)
            # The second is -log p(own negated text); `scale * ahead` moves its zero to the own text's logit.
            return torch.logaddexp(per_image, per_negated + scale * ahead).mean()
        case _:
            raise ConfigError(f"negation: columns is {columns!r}; allowed are 'own', 'all' and 'hinge'")


def diversity(readouts: Float[Tensor, "b k d"]) -> Float[Tensor, ""]:
    """How alike the k readouts of a caption are: the mean squared cosine over pairs of prompts and over the batch.

    Each prompt's readouts are centred over the batch (of all processes) first, since states of a language model
    share a large common direction that says nothing about the caption. 0 where prompts say orthogonal things, 1
    where they say the same; 0 for a single prompt, which has no pairs. The square pulls towards orthogonality
    and rewards no opposites. For segments behind maps of their own it means nothing: they share no coordinates.
    """
    k = readouts.shape[1]
    if k < 2:
        return readouts.new_zeros(())
    check_shares(readouts)
    readouts = readouts.to(torch.promote_types(readouts.dtype, torch.float32))
    units = F.normalize(readouts - total(readouts.sum(dim=0)) / (len(readouts) * place()[1]), dim=-1)
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
    check_shares(texts)
    wide = torch.promote_types(texts.dtype, torch.float32)
    with torch.autocast(texts.device.type, enabled=False):
        correlation = score_correlation(_moments(texts.to(wide)), _moments(images.to(wide)))
    first, second = torch.triu_indices(k, k, offset=1, device=texts.device)
    return correlation[first, second].square().mean()


def _moments(segments: Float[Tensor, "b k e"]) -> Moments:
    """Over the batch of all processes; gradients reach the segments."""
    _, k, e = segments.shape
    count = len(segments) * place()[1]
    mean = total(segments.sum(dim=0)) / count
    centred = (segments - mean).flatten(1)
    return mean, (total(centred.T @ centred) / count).view(k, e, k, e)


def drift(prompted: Float[Tensor, "*n d"], frozen: Float[Tensor, "*n d"]) -> Float[Tensor, ""]:
    """How far prompting has moved the features: mean absolute difference of unit rows.

    L_SCL-text and L_SCL-image of PromptSRC (Khattak et al. 2023, arXiv:2307.06948, "mutual
    agreement maximization"). The mean runs over n and d, as in the authors' code
    (muzairkhattak/PromptSRC, trainers/promptsrc.py, line 300); their weights 25 and 10 assume it.
    `frozen` receives no gradient.
    """
    return (F.normalize(prompted, dim=-1) - F.normalize(frozen.detach(), dim=-1)).abs().mean()


def weighted_cross_entropy(
    logits: Float[Tensor, "b c"], labels: Int[Tensor, "b"], weights: Float[Tensor, "b"]
) -> Float[Tensor, ""]:
    """Cross-entropy in which each item has its weight: sum of w ce over sum of w, as torch and scikit-learn have it.

    Both sums run over the items of all processes; 0 where no item counts.
    """
    each, count = (weights * F.cross_entropy(logits, labels, reduction="none")).sum(), weights.sum()
    return place()[1] * each / summed(count).clamp(min=torch.finfo(count.dtype).tiny)


def focal(
    logits: Float[Tensor, "b c"], labels: Int[Tensor, "b"], weights: Float[Tensor, "c"], gamma: float
) -> Float[Tensor, ""]:
    """-w (1 - p)^gamma log p, where p is the probability of an item's class; mean over items.

    Equation 5 of Lin et al. 2017, arXiv:1708.02002, with a softmax over classes in place of their sigmoid; for two
    classes both are the same. w is their alpha. With gamma 0 and even weights it is cross-entropy.
    """
    log_p = F.log_softmax(logits, dim=-1).gather(1, labels[:, None])[:, 0]
    rest = (1 - log_p.exp()).clamp(min=torch.finfo(log_p.dtype).tiny)  # at 0 a power below 1 has no finite slope
    return -(weights[labels] * rest**gamma * log_p).mean()
