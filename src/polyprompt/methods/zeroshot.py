"""Zero-shot classification: nothing is learned; templates are filled with class names (Radford et al. 2021).

With several templates each one's features are normalised, averaged, and normalised again (CoOp's ZeroshotCLIP2). The
same with sentences about the classes in place of templates (adapt/descriptions.py), which is CuPL's ensemble (Pratt et
al. 2023, arXiv:2209.03320).

Where vectors have K aspects (CAMPE), each may count by a weight: given beforehand, or one of `candidates` that
validation pictures prefer. Weights chosen on the pictures that are scored would be another figure.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, Names
from polyprompt.adapt.descriptions import described, sentences_of
from polyprompt.adapt.published import Untrained
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import filled
from polyprompt.errors import ConfigError
from polyprompt.towers.base import DualEncoder, Out, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of zero-shot classification."""

    by_set: ClassVar[str] = "templates"
    templates: tuple[str, ...] = ("a photo of a {}.",)
    """One sentence, or several whose features are averaged."""
    descriptions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Classes and sentences about them, which take the place of templates; --descriptions reads them from a file."""
    aspect_weights: tuple[float, ...] = ()
    """On an encoder whose vectors have K segments (CAMPE), what each counts; the score is the weighted sum."""
    tune_aspects: bool = False
    """Whether they are chosen on validation pictures instead."""
    unit_mean: bool = True
    """Whether the mean is made a unit vector; VDT-Adapter's authors leave classes with varied sentences shorter."""

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("zeroshot: templates is empty; at least one sentence with {} is needed")
        if self.aspect_weights and not any(self.aspect_weights):
            raise ConfigError("zeroshot: aspect_weights are all 0, so every class would score alike; give one a weight")
        if self.tune_aspects and self.aspect_weights:
            raise ConfigError("zeroshot: aspect_weights are given, and tune_aspects would choose them; leave one out")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "ZeroShot":
        """A classifier of `names` that learns nothing; with `tune_aspects`, validation pictures give its weights."""
        if self.aspect_weights and len(self.aspect_weights) != encoder.aspects:
            raise ConfigError(
                f"zeroshot: aspect_weights are {len(self.aspect_weights)}, the vectors of {encoder.name} have "
                f"{encoder.aspects} aspect{'s' * (encoder.aspects > 1)}; give one weight for each"
            )
        if not self.tune_aspects:
            return ZeroShot(self, names)
        if encoder.aspects < 2:
            raise ConfigError(f"zeroshot: the vectors of {encoder.name} have one aspect; there are no weights to tune")
        return TunedZeroShot(self, names, encoder.aspects)


class ZeroShot(Adapter):
    """Sentences, and the mean of their unit vectors."""

    def __init__(self, config: Config, names: Names) -> None:
        super().__init__()
        self.config = config
        self._count(names)

    def _count(self, names: Names) -> None:
        """Notes how many sentences each class has."""
        sentences = sentences_of(self.config.descriptions, names) if self.config.descriptions else []
        self.counts = [len(one) for one in sentences] or [len(self.config.templates)] * len(names)

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Each class's descriptions, or each template with its name."""
        if not self.config.descriptions:
            return filled(text, self.config.templates, names)
        return [row for rows in described(text, self.config.descriptions, names) for row in rows]

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c D"]:
        """Unit vectors, unless the mean is left as it is."""
        parts = F.normalize(out.vectors, dim=-1).split(self.counts)
        means = torch.stack([part.mean(dim=0) for part in parts])
        return F.normalize(means, dim=-1) if self.config.unit_mean else means

    def scores(
        self, images: Float[Tensor, "b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """Of class vectors as long as they are."""
        if self.config.aspect_weights:
            classes = weighted(classes, self.config.aspect_weights)
        return {"logits": scale * F.normalize(images, dim=-1) @ classes.T}

    def for_names(self, names: Names) -> "ZeroShot":
        """The same sentences, or those about other classes."""
        other = copy.copy(self)
        other._count(names)
        return other


class TunedZeroShot(ZeroShot):
    """The same with weights of aspects from validation pictures; none until it has seen some."""

    def __init__(self, config: Config, names: Names, aspects: int) -> None:
        super().__init__(config, names)
        self.weights: Tensor
        self.register_buffer("weights", torch.full((aspects,), torch.nan))

    @torch.no_grad()
    def tune(
        self, images: Float[Tensor, "n D"], labels: Int[Tensor, "n"], classes: Float[Tensor, "c D"], scale: float
    ) -> None:
        """Takes the weights that classify validation pictures best."""
        self.weights.copy_(self.weights.new_tensor(best_weights(images, labels, classes, len(self.weights))))

    def scores(
        self, images: Float[Tensor, "b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """With these weights.

        Raises:
            ConfigError: there were no validation pictures to choose them on.
        """
        if self.weights.isnan().any():
            raise ConfigError(
                "zeroshot: tune_aspects has no validation pictures to choose on; name a split of the data with "
                "val_split, or give aspect_weights"
            )
        return super().scores(images, weighted(classes, self.weights.tolist()), scale)


def weighted(classes: Float[Tensor, "c D"], weights: Sequence[float]) -> Float[Tensor, "c D"]:
    """Each segment of a vector times its weight, so that the cosine becomes the weighted sum of segments' products."""
    return classes * classes.new_tensor(weights).repeat_interleave(classes.shape[-1] // len(weights))


FIRST = 1.25
"""The published weight of an aspect that counts for more."""


def candidates(aspects: int) -> list[list[float]]:
    """Equal weights, then one aspect at 1.25, 1.5 or 2 and the others less, so that the sum stays."""
    raised = [(k, most) for most in (FIRST, 1.5, 2.0) for k in range(aspects)]
    return [[1.0] * aspects, *(raised_weights(aspects, most, k) for k, most in raised)]


def raised_weights(aspects: int, most: float = FIRST, k: int = 0) -> list[float]:
    """Aspect k at `most`; the others share what is left of K."""
    return [most if i == k else (aspects - most) / (aspects - 1) for i in range(aspects)]


def best_weights(
    images: Float[Tensor, "n D"], labels: Int[Tensor, "n"], classes: Float[Tensor, "c D"], aspects: int
) -> list[float]:
    """Those of `candidates` that classify pictures best; of equally good ones the first."""
    units = F.normalize(images, dim=-1)
    return max(
        candidates(aspects), key=lambda one: int(((units @ weighted(classes, one).T).argmax(dim=1) == labels).sum())
    )


PUBLISHED = Untrained({"base": 69.34, "novel": 74.22, "harmonic mean": 71.7})
"""What base-to-novel tables print for it: one template a data set, mean over 11 (PromptKD, arXiv:2403.02781)."""
