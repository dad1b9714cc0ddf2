"""Do the K prompts of a model say K different things? Two figures that tell, on a whole evaluation set.

Segments behind maps of their own share no coordinates, so their cosine is near 0 whatever they say. These two
cannot be fooled that way: the cosine of read-outs before the maps, and the correlation of the segments' scores.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyprompt.errors import DataError


@torch.no_grad()
def centred_cosine(readouts: Float[Tensor, "t k d"]) -> float | None:
    """Mean cosine of a text's k read-outs, over pairs of prompts and texts; each prompt's are centred over texts first.

    1: the prompts read the same from every text. 0: nothing in common. None for one prompt, which has no pairs.
    A read-out that does not move counts as 0. Computed in float64.

    Raises:
        DataError: no text, or NaN or infinity among the read-outs.
    """
    _check("read-outs", readouts)
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

    1: every segment ranks the images alike, so one would do. None for one segment, which has no pairs. A segment whose
    score never changes correlates with none (0).

    Exact, without the t x i x k scores: with texts = mean + a and images = mean + b, the covariance of s_k and s_l is
    m_k' A_kl m_l + n_k' B_kl n_l + <A_kl, B_kl>, where m, n are the mean image and text, A_kl and B_kl the e x e
    covariances of a and b. Time is that of two Gram matrices; float64.

    Raises:
        DataError: no text or no image, or NaN or infinity among them.
    """
    _check("texts", texts)
    _check("images", images)
    k = texts.shape[1]
    if k < 2:
        return None
    mean_text, text_gram = _moments(texts)
    mean_image, image_gram = _moments(images)
    covariance = (
        torch.einsum("ke,kelf,lf->kl", mean_image, text_gram, mean_image)
        + torch.einsum("ke,kelf,lf->kl", mean_text, image_gram, mean_text)
        + torch.einsum("kelf,kelf->kl", text_gram, image_gram)
    )
    variance = covariance.diagonal()
    means = (mean_text * mean_image).sum(dim=1)
    moving = variance > 1e-24 * (variance + means.square())  # below that it is rounding in float64
    correlation = covariance / (variance[:, None] * variance).sqrt()
    correlation = torch.where(moving[:, None] & moving, correlation, 0.0)
    first, second = torch.triu_indices(k, k, offset=1, device=texts.device)
    return float(correlation[first, second].mean())


def _moments(segments: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [k e] and the covariances [k e k e] over the rows."""
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
