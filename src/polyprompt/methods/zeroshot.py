"""Zero-shot classification: nothing is learned; templates are filled with class names (Radford et al. 2021).

With several templates each one's features are normalised, averaged, and normalised again (CoOp's ZeroshotCLIP2).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView, class_means
from polyprompt.adapt.wording import filled
from polyprompt.errors import ConfigError
from polyprompt.towers.base import DualEncoder, Out, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of zero-shot classification."""

    templates: tuple[str, ...] = ("a photo of a {}.",)
    """One sentence, or several whose features are averaged."""

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("zeroshot: templates is empty; at least one sentence with {} is needed")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "ZeroShot":
        """The classifier."""
        return ZeroShot(self.templates)


class ZeroShot(Adapter):
    """Sentences, and the mean of their unit vectors."""

    def __init__(self, templates: tuple[str, ...]) -> None:
        super().__init__()
        self.templates = templates

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Each template with each class name."""
        return filled(text, self.templates, names)

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c D"]:
        """Unit vectors."""
        return class_means(out.vectors.unflatten(0, (-1, len(self.templates))), unit_first=True)


PUBLISHED: Mapping[Protocol, Published] = {}
