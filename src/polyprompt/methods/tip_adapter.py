"""Tip-Adapter(-F): scores from a cache of training pictures beside zero-shot's (Zhang et al. 2022, arXiv:2207.09519).

Written from a description of the authors' program (gaopengcuhk/Tip-Adapter), not from its code; tests/test_golden.py
compares cache, logits, the search, losses, gradients and steps. Scores are 100 f W + alpha exp(-beta (1 - f K')) V for
unit vectors f, class vectors W, the cache's keys K and one-hot labels V. With `learn` (-F) the keys learn, beside the
alpha and beta of the start. What differs: epoch, and then alpha and beta, are chosen on validation pictures, where
there are some. The authors' program chooses the epoch on test pictures (`select=authors-test` of `adapt`), searches on
validation pictures, or for ImageNet on test pictures, and prints the better of both accuracies. -F trains on the
pictures as `adapt` shows them, where the authors' draws new crops in each epoch (`augment` does).
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, class_logits, places_among
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView, class_means
from polyprompt.adapt.wording import check_counts, filled
from polyprompt.errors import ConfigError, DataError
from polyprompt.towers.base import DualEncoder, Out, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of Tip-Adapter."""

    learn: bool = True
    """Whether the keys learn (Tip-Adapter-F), or the cache stays as it is (Tip-Adapter)."""
    alpha: float = 1.17
    """Weight of the cache; the authors start from 1.17 to 10 by data set."""
    beta: float = 1.0
    """How fast a key's weight falls with the distance."""
    search: tuple[float, float] = (7.0, 3.0)
    """Ends of the search of beta and of alpha, from 0.1 on; they are not reached."""
    search_steps: tuple[int, int] = (200, 20)
    """Values tried of each."""
    views: int = 10
    """Random views of a picture that a key is the mean of, where pictures are augmented."""
    by_set: ClassVar[str] = "templates"
    templates: tuple[str, ...] = ("a photo of a {}.",)
    """Sentences that class vectors are the mean of."""

    def __post_init__(self) -> None:
        check_counts("tip_adapter", views=self.views, search_steps=min(self.search_steps))
        if not self.templates:
            raise ConfigError("tip_adapter: templates is empty; at least one sentence with {} is needed")
        kept = all(0 <= weight < math.inf for weight in (self.alpha, self.beta))
        if not (kept and all(0.1 < end < math.inf for end in self.search)):
            raise ConfigError("tip_adapter: alpha and beta are 0 or more, and the ends of the search above 0.1")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "TipAdapter":
        """An empty cache; the training pictures fill it."""
        return TipAdapter(self, names, encoder.dim)


class TipAdapter(Adapter):
    """Keys [n D], values [n c], and the two weights. Empty until it has looked at the training pictures."""

    scale = 100.0

    def __init__(self, config: Config, names: Names, dim: int) -> None:
        super().__init__()
        self.config, self.names, self.views = config, tuple(names), config.views
        self.values: Tensor
        self.weights: Tensor
        self._set(torch.zeros(0, dim), torch.zeros(0, len(self.names)))
        self.register_buffer("weights", torch.tensor([config.alpha, config.beta], dtype=torch.float64))

    def _set(self, keys: Float[Tensor, "n D"], values: Float[Tensor, "n c"]) -> None:
        self.keys = nn.Parameter(keys, requires_grad=self.config.learn)
        self.register_buffer("values", values)

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Each template with each class name."""
        return filled(text, self.config.templates, names)

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c D"]:
        """Unit vectors: the mean of each template's unit vectors."""
        return class_means(out.vectors.unflatten(0, (-1, len(self.config.templates))), unit_first=True)

    def fit(self, views: Float[Tensor, "g n D"], labels: Int[Tensor, "n"]) -> None:
        """Fills the cache: the unit mean of each picture's raw views."""
        one_hot = F.one_hot(labels, len(self.names)).to(views.dtype)
        if missing := [name for name, count in zip(self.names, one_hot.sum(dim=0), strict=True) if not count]:
            raise DataError(f"tip_adapter: class {missing[0]!r} has no training picture; each class needs at least one")
        self._set(F.normalize(views.mean(dim=0), dim=-1), one_hot)

    def scores(
        self, images: Float[Tensor, "b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """Zero-shot's scores, and the cache's beside them."""
        alpha, beta = self.weights  # as tensors, which an exporter can follow
        likeness = F.normalize(images, dim=-1) @ self.keys.T
        cached = alpha * (beta * (likeness - 1)).exp() @ self.values
        return {"logits": class_logits(images, classes, scale) + cached}

    @torch.no_grad()
    def tune(
        self, images: Float[Tensor, "n D"], labels: Int[Tensor, "n"], classes: Float[Tensor, "c D"], scale: float
    ) -> None:
        """alpha and beta that classify validation pictures best."""
        plain = class_logits(images, classes, torch.tensor(scale, device=images.device))
        pair = search(self.config, plain, F.normalize(images, dim=-1) @ self.keys.T, self.values, labels)
        self.weights.copy_(torch.tensor([pair.alpha, pair.beta]))

    def take_shapes(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """A cache of the saved size."""
        if len(shapes.get("keys", ())) == 2 and len(shapes.get("values", ())) == 2:
            new = self.weights.new_zeros
            self._set(new(shapes["keys"], dtype=torch.float32), new(shapes["values"], dtype=torch.float32))

    def for_names(self, names: Names) -> "TipAdapter":
        """The same classes in another order, or some of them; the cache holds no others."""
        if tuple(names) == self.names:
            return self
        places = places_among(self.names, names, "tip_adapter: the cache holds no picture of")
        other = copy.copy(self)
        other._buffers = dict(self._buffers)
        other.names = tuple(names)
        other.values = self.values[:, places]
        return other


class BestPair(NamedTuple):
    """The best pair of a search, and the accuracy in percent of every one, [beta, alpha]."""

    alpha: float
    beta: float
    accuracy: Float[Tensor, "p q"]


@torch.no_grad()
def search(
    config: Config,
    plain: Float[Tensor, "n c"],
    likeness: Float[Tensor, "n k"],
    values: Float[Tensor, "k c"],
    labels: Int[Tensor, "n"],
) -> BestPair:
    """beta in the outer loop, alpha in the inner one; a pair takes the best one's place if it is strictly better.

    Args:
        config: ends and steps of the search.
        plain: zero-shot's scores.
        likeness: cosines of pictures and keys.
        values: the labels of the keys, one-hot.
        labels: of the pictures.
    """
    (beta_end, alpha_end), (beta_steps, alpha_steps) = config.search, config.search_steps
    betas = [0.1 + i * (beta_end - 0.1) / beta_steps for i in range(beta_steps)]
    alphas = [0.1 + i * (alpha_end - 0.1) / alpha_steps for i in range(alpha_steps)]
    accuracy, logits = torch.zeros(beta_steps, alpha_steps, dtype=torch.float64), torch.empty_like(plain)
    predicted = labels.new_empty(alpha_steps, len(labels))
    keys, owners = values.nonzero(as_tuple=True)
    apart = (likeness.T[keys] - 1) / math.log(2)  # a row a key; torch has exp2 in a third of exp's time on a CPU
    weights, sums = torch.empty_like(apart), plain.new_empty(plain.shape[::-1])
    for row, beta in enumerate(betas):
        torch.mul(apart, beta, out=weights).exp2_()
        cached = sums.zero_().index_add_(0, owners, weights).T.contiguous()  # a product with labels would add zeros
        for column, alpha in enumerate(alphas):
            torch.argmax(torch.add(plain, cached, alpha=alpha, out=logits), dim=1, out=predicted[column])
        accuracy[row] = 100 * (predicted == labels).double().mean(dim=1)
    if not accuracy.max() > 0:
        return BestPair(0.0, 0.0, accuracy)
    beta, alpha = divmod(int(accuracy.flatten().argmax()), alpha_steps)
    return BestPair(alphas[alpha], betas[beta], accuracy)


PUBLISHED: Mapping[Protocol, Published] = {
    "few-shot": Published(
        config=Config(),
        rate=0.001,
        epochs=20,
        batch=256,
        optimizer="adamw",
        weight_decay=0.01,
        eps=1e-4,
        schedule="cosine",
        select="val",
        crop=0.5,
        figures={"16 shots (ResNet-50)": 75.83, "8 shots": 72.45, "4 shots": 69.67, "2 shots": 66.65, "1 shot": 64.6},
        note="On a ResNet-50, the epoch chosen on test (select: authors-test); EuroSAT takes 100 epochs; alpha and "
        "search go by data set.",
    ),
}
