"""MMRL: tokens from a space of their own in the upper layers of both towers, and a second image vector read off them
(Guo and Gu 2025, CVPR).

Multi-modal representation learning. Written from a description of the authors' program
(yunncheng/MMRL), not from its code; tests/test_golden.py compares logits, losses, gradients and steps. Tokens are
linear images of K learned vectors. They enter behind the start token and behind the patches, have no place, and replace
themselves in each listed layer. Scores are 100 times a cosine, whatever the encoder's own scale. Both image vectors
classify the classes that were trained on; others are classified by the class token alone.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, class_logits
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.terms import Result, Term
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, filled
from polyprompt.errors import ConfigError
from polyprompt.nn.linear import linear
from polyprompt.nn.prompts import normal, slots
from polyprompt.towers.base import Change, DualEncoder, Out, Rows, TextTower, check_block


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of MMRL."""

    tokens: int = 5
    """K, tokens in each tower."""
    layers: tuple[int, ...] = (6, 7, 8, 9, 10, 11, 12)
    """Blocks whose input they enter, counted from 1."""
    space: int = 512
    """r, numbers in a vector of the space."""
    alpha: float = 0.7
    """Share of the class token's scores, and of its cross-entropy."""
    weight: float = 0.5
    """Of what holds vectors near the frozen encoder's; the authors choose it by data set (0.01 to 7)."""
    by_set: ClassVar[str] = "template"
    template: str = "a photo of a {}."
    """What stands around the class name."""

    def __post_init__(self) -> None:
        check_counts("mmrl", tokens=self.tokens, space=self.space)
        if not self.layers or min(self.layers) < 1 or list(self.layers) != sorted(set(self.layers)):
            raise ConfigError(f"mmrl: layers is {list(self.layers)}; blocks counted from 1, each once, in order")
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"mmrl: alpha is {self.alpha}; it is a share, from 0 to 1")
        if not 0 <= self.weight < math.inf:
            raise ConfigError(f"mmrl: weight is {self.weight}; a weight is 0 or more")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "MMRL":
        """Untrained tokens of the shared space, and their maps into both towers."""
        check_block("mmrl", encoder.text, "text", self.layers[-1] - 1, f"layers has {self.layers[-1]}")
        check_block("mmrl", encoder.image, "image", self.layers[-1] - 1, f"layers has {self.layers[-1]}")
        return MMRL(self, encoder, names, draw)


class MMRL(Adapter):
    """The space, its maps into both towers by layer, and the map of the tokens' readout; the authors' names."""

    scale = 100.0

    def __init__(self, config: Config, encoder: DualEncoder, names: Names, draw: torch.Generator) -> None:
        super().__init__()
        self.config, self.trained, self.fused = config, frozenset(names), True
        self.compound_rep_tokens = nn.Parameter(normal(config.tokens, config.space, 0.02, draw))
        self.compound_rep_tokens_r2vproj, self.compound_rep_tokens_r2tproj = (
            copies(linear(config.space, width, draw), len(config.layers))
            for width in (encoder.image.width, encoder.text.width)
        )
        readout = torch.randn(encoder.image.width, encoder.dim, generator=draw)
        self.proj_rep = nn.Parameter(readout * encoder.image.width**-0.5)

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Slots, and the template with each class name."""
        return [[*slots(0, self.config.tokens), *row] for row in filled(text, [self.config.template], names)]

    def text_change(self, frozen: FrozenView) -> Change:
        """The tokens for the text tower."""
        return self._entering(self.compound_rep_tokens_r2tproj)

    def image_change(self, frozen: FrozenView) -> Change:
        """The tokens for the image tower."""
        return self._entering(self.compound_rep_tokens_r2vproj)

    def _entering(self, maps: nn.ModuleList) -> Change:
        pairs = zip(self.config.layers, maps, strict=True)
        return Change(prompts={layer - 1: Rows(to(self.compound_rep_tokens)) for layer, to in pairs})

    def image_vectors(self, out: Out) -> Float[Tensor, "2 b D"]:
        """The class token's vector, and that of the tokens: their mean, mapped."""
        assert out.tokens is not None
        return torch.stack([out.vectors, out.tokens.mean(dim=1) @ self.proj_rep])

    def scores(
        self, images: Float[Tensor, "2 b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """By the class token, by the tokens, and what predicts: both, or for new classes the class token's."""
        token, representation = (class_logits(one, classes, scale) for one in images)
        fusion = self.config.alpha * token + (1 - self.config.alpha) * representation
        return {"logits": fusion if self.fused else token, "class_token": token, "representation": representation}

    def terms(self) -> list[Term]:
        """Two cross-entropies, and what holds both towers' vectors back."""
        return [Loss(self.config)]

    def for_names(self, names: Names) -> "MMRL":
        """Shares all that was learned; with a new class among the names, the class token alone predicts."""
        other = copy.copy(self)
        other.fused = set(names) <= self.trained
        return other


class Loss(Term):
    """The whole loss of MMRL."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropies weighted by alpha and 1 - alpha; 1 - cosine to the frozen vectors, mean over rows."""
        alpha, weight = self.config.alpha, self.config.weight
        classes = result.frozen.classes([self.config.template])[:, 0]
        return {
            "cross_entropy": alpha * F.cross_entropy(result.scores["class_token"], result.labels),
            "representation": (1 - alpha) * F.cross_entropy(result.scores["representation"], result.labels),
            "image_drift": weight * (1 - F.cosine_similarity(result.images[0], result.frozen.images)).mean(),
            "text_drift": weight * (1 - F.cosine_similarity(result.classes, classes)).mean(),
        }


def copies(layer: nn.Linear, count: int) -> nn.ModuleList:
    """Maps that start as copies of one, like the authors'."""
    return nn.ModuleList([copy.deepcopy(layer) for _ in range(count)])


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.001,
        epochs=10,
        batch=4,
        optimizer="adamw",
        crop=0.5,
        precision="amp",
        note="ImageNet's batch is 32, with 5 epochs; EuroSAT's space has 2,048 numbers; weight is chosen by data set.",
    ),
    "few-shot": Published(
        config=Config(),
        rate=0.001,
        epochs=50,
        batch=32,
        optimizer="adamw",
        crop=0.5,
        precision="amp",
        note="ImageNet takes 5 epochs.",
    ),
    "cross-dataset": Published(
        config=replace(Config(), weight=0.2),
        rate=0.001,
        epochs=1,
        batch=32,
        optimizer="adamw",
        schedule="by-epoch",
        crop=0.5,
        precision="amp",
    ),
}
