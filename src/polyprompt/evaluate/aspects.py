"""Do the K prompts of a model say K different things? Two figures that tell, on a whole evaluation set.

Segments behind maps of their own share no coordinates, so their cosine is near 0 whatever they say. These two
cannot be fooled that way: the cosine of readouts before the maps, and the correlation of the segments' scores.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyprompt.errors import DataError
from polyprompt.nn.segments import Moments, score_correlation


@torch.no_grad()
def centred_cosine(readouts: Float[Tensor, "t k d"]) -> float | None:
    """Mean cosine of a text's k readouts, over pairs of prompts and texts; each prompt's are centred over texts first.

    1: the prompts read the same from every text. 0: nothing in common. None for one prompt, which has no pairs.
    A readout that does not move counts as 0. Computed in float64.

    Raises:
        DataError: no text, or NaN or infinity among the readouts.
    """
    _check("readouts", readouts)
    k = readouts.shape[1]
    if k < 2:
        return None
    total = 0.0
    means = readouts.mean(dim=0, dtype=torch.float64)
    for rows in readouts.split(1024):
        units = F.normalize(rows.double() - means, dim=-1)
        # The sum over pairs of <u_k, u_l> is half of |sum u|^2 less the squares.
        total += float(units.sum(dim=1).square().sum() - units.square().sum()) / 2
    return total / (len(readouts) * k * (k - 1) / 2)


@torch.no_grad()
def redundancy(texts: Float[Tensor, "t k e"], images: Float[Tensor, "i k e"]) -> float | None:
    """Mean correlation (Pearson) of two segments' scores <text_k, image_k> over all t x i pairs of a text and an image.

    1: every segment ranks the images alike, so one would do. None for one segment, which has no pairs.

    Raises:
        DataError: no text or no image, or NaN or infinity among them.
    """
    correlation, k = segment_correlation(texts, images), texts.shape[1]
    first, second = torch.triu_indices(k, k, offset=1, device=texts.device)
    return float(correlation[first, second].mean()) if k > 1 else None


@torch.no_grad()
def segment_correlation(texts: Float[Tensor, "t k e"], images: Float[Tensor, "i k e"]) -> Float[Tensor, "k k"]:
    """The correlations behind `redundancy`, in float64, from moments (nn/segments.py), so exact for any t and i.

    A segment whose score never changes correlates with none, not even with itself (0).

    Raises:
        DataError: no text or no image, or NaN or infinity among them.
    """
    _check("texts", texts)
    _check("images", images)
    return score_correlation(moments(texts), moments(images))


def moments(segments: Float[Tensor, "n k e"]) -> Moments:
    """Over the rows, a few thousand at a time."""
    n, k, e = segments.shape
    mean = segments.mean(dim=0, dtype=torch.float64)
    gram = segments.new_zeros((k * e, k * e), dtype=torch.float64)
    for rows in segments.split(4096):
        centred = (rows.double() - mean).flatten(1)
        gram.addmm_(centred.T, centred)
    return mean, (gram / n).view(k, e, k, e)


def _check(name: str, rows: Tensor) -> None:
    if not len(rows):
        raise DataError(f"aspects: there are no {name}; it takes one or more")
    if not rows.isfinite().all():
        raise DataError(
            f"aspects: the {name} hold NaN or infinity; look for a diverged run, or an overflow in half precision"
        )
