"""Nearest mean: a class is the mean of its training pictures' vectors (Mensink et al. 2013, IEEE TPAMI 35(11)).

No sentence is read, nothing is trained: with `linear_probe` what a table of methods is to be measured against. Means
are of unit vectors, and made unit vectors again; scores are the encoder's scale times their cosines.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.adapt.adapter import Closed, Names, class_logits
from polyprompt.adapt.published import Untrained
from polyprompt.towers.base import DualEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to set."""

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "NearestMean":
        """Means of nothing yet."""
        return NearestMean(names, encoder.dim)


class NearestMean(Closed):
    """Means [c D]; zeros until it has looked at the training pictures."""

    of_classes = ("means",)
    nothing = "nearest_mean: no mean was taken of"

    def __init__(self, names: Names, dim: int) -> None:
        super().__init__(names)
        self.means: Tensor
        self.register_buffer("means", torch.zeros(len(names), dim))

    def fit(self, views: Float[Tensor, "g n D"], labels: Int[Tensor, "n"]) -> None:
        """Takes the means, over views too."""
        self.check_seen(labels)
        one_hot = F.one_hot(labels, len(self.names)).to(views.dtype)
        self.means = F.normalize(one_hot.T @ F.normalize(views, dim=-1).mean(dim=0), dim=-1)

    def scores(
        self, images: Float[Tensor, "b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """Cosines with the means."""
        return {"logits": class_logits(images, self.means, scale)}


PUBLISHED = Untrained()
