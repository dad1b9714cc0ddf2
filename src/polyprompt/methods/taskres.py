"""TaskRes: a learned vector beside each class's frozen one (Yu et al. 2023, arXiv:2211.10277).

Written from a description of the authors' program (geekyutao/TaskRes); tests/test_golden.py compares logits, losses,
gradients and steps. A class vector is t + alpha x, where t is the mean of the templates' raw vectors. What differs:
their "enhanced base", a text projection trained beforehand, is not here.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, places_among
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import filled
from polyprompt.errors import ConfigError
from polyprompt.towers.base import DualEncoder, Out, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of TaskRes."""

    alpha: float = 0.5
    """Factor on what is learned; the authors take 1 for Flowers102."""
    by_set: ClassVar[str] = "templates"
    templates: tuple[str, ...] = ("a photo of a {}.",)
    """Sentences whose raw vectors the frozen class vectors are the mean of."""
    underscores: bool = True
    """Whether class names keep their underscores, as in the authors' program."""

    def __post_init__(self) -> None:
        if not self.templates:
            raise ConfigError("taskres: templates is empty; at least one sentence with {} is needed")
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"taskres: alpha is {self.alpha}; it must be above 0, or nothing is learned")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "TaskRes":
        """Residuals of zero: the templates' zero-shot."""
        return TaskRes(self, names, encoder.dim)


class TaskRes(Adapter):
    """`residuals` [c D] of the classes it was made for; `places` picks those of the classes that are told apart."""

    def __init__(self, config: Config, names: Names, dim: int) -> None:
        super().__init__()
        self.config, self.names = config, tuple(names)
        self.places: Sequence[int] = range(len(self.names))
        self.residuals = nn.Parameter(torch.zeros(len(self.names), dim))

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Each template with each class name."""
        return filled(text, self.config.templates, names, underscores=self.config.underscores)

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c D"]:
        """t + alpha x."""
        base = out.vectors.unflatten(0, (-1, len(self.config.templates))).mean(dim=1)
        return base + self.config.alpha * self.residuals[list(self.places)]

    def for_names(self, names: Names) -> "TaskRes":
        """The same classes in another order, or some of them."""
        if tuple(names) == tuple(self.names[place] for place in self.places):
            return self
        other = copy.copy(self)
        other.places = places_among(self.names, names, "taskres: no residual was learned for")
        return other


PUBLISHED: Mapping[Protocol, Published] = {
    "few-shot": Published(
        config=Config(), rate=0.002, epochs=200, batch=256, fewer=((4, 100),), optimizer="adam",
        note="On a ResNet-50; on ImageNet the rate is 0.0002, as for its runs on ViT-B/16.",
    ),
}  # fmt: skip
