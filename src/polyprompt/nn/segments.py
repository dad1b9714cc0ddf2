"""Embeddings in K segments: what each adds to a score, and how alike they judge."""

import torch
from jaxtyping import Float
from torch import Tensor


def segment_scores(texts: Float[Tensor, "t k e"], images: Float[Tensor, "i k e"]) -> Float[Tensor, "t i k"]:
    """<t_k, v_k>, what each segment adds to the score of a text and an image; of unit rows the sum is the cosine."""
    return torch.einsum("tke,ike->tik", texts, images)


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
