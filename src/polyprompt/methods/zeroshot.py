"""Zero-shot classification: nothing is learned; templates are filled with class names (Radford et al. 2021).

With several templates each one's features are normalised, averaged, and normalised again (CoOp's ZeroshotCLIP2). The
same with sentences about the classes in place of templates (adapt/descriptions.py), which is CuPL's ensemble (Pratt et
al. 2023, arXiv:2209.03320).
"""

import copy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, Names
from polyprompt.adapt.descriptions import described, sentences_of
from polyprompt.adapt.published import UNTRAINED
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import filled
from polyprompt.errors import ConfigError
from polyprompt.towers.base import DualEncoder, Out, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of zero-shot classification."""

    templates: tuple[str, ...] = ("a photo of a {}.",)
    """One sentence, or several whose features are averaged."""
    descriptions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Classes and sentences about them, which take the place of templates; --descriptions reads them from a file."""
    aspect_weights: tuple[float, ...] = ()
    """On an encoder whose vectors have K segments (CAMPE), what each counts; the score is the weighted sum."""
    unit_mean: bool = True
    """Whether the mean is made a unit vector; VDT-Adapter's authors leave classes with varied sentences shorter."""

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("zeroshot: templates is empty; at least one sentence with {} is needed")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "ZeroShot":
        """The classifier."""
        if self.aspect_weights and len(self.aspect_weights) != encoder.aspects:
            raise ConfigError(
                f"zeroshot: aspect_weights are {len(self.aspect_weights)}, the vectors of {encoder.name} have "
                f"{encoder.aspects} aspect{'s' * (encoder.aspects > 1)}; give one weight for each"
            )
        return ZeroShot(self, names)


class ZeroShot(Adapter):
    """Sentences, and the mean of their unit vectors."""

    def __init__(self, config: Config, names: Names) -> None:
        super().__init__()
        self.config = config
        self._count(names)

    def _count(self, names: Names) -> None:
        """Notes how many sentences each class has."""
        said = sentences_of(self.config.descriptions, names) if self.config.descriptions else []
        self.counts = [len(one) for one in said] or [len(self.config.templates)] * len(names)

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
            weights = classes.new_tensor(self.config.aspect_weights)
            classes = classes * weights.repeat_interleave(classes.shape[-1] // len(weights))
        return {"logits": scale * F.normalize(images, dim=-1) @ classes.T}

    def for_names(self, names: Names) -> "ZeroShot":
        """The same sentences, or those about other classes."""
        other = copy.copy(self)
        other._count(names)
        return other


FIGURES = {"base": 69.34, "novel": 74.22, "harmonic mean": 71.7}
"""What base-to-novel tables print for it: one template a data set, mean over 11 (PromptKD, arXiv:2403.02781)."""
PUBLISHED = UNTRAINED
