"""CoPrompt: MaPLe, a small map behind each tower, and consistency with the frozen encoder (Roy and Etemad 2024,
arXiv:2306.01195).

Written from a description of the authors' program (ShuvenduRoy/CoPrompt), not from its code; tests/test_golden.py
compares logits, losses, gradients and steps. Prompts are maple.py's; of each finished vector a share goes through a
bottleneck as CLIP-Adapter's. The term is adapt/terms/coprompt.py, for it goes with other methods too. Descriptions
are read while training only, so classes that come later need none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.adapter import Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.terms import CrossEntropy, Term
from polyprompt.adapt.terms.coprompt import Config as Consistency
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts
from polyprompt.errors import ConfigError
from polyprompt.methods import maple
from polyprompt.nn.linear import bottleneck
from polyprompt.towers.base import DualEncoder, Out


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of CoPrompt."""

    descriptions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Classes and sentences about them; --descriptions reads them from a file."""
    context: int = 4
    """Learned vectors per block."""
    depth: int = 12
    """Blocks with prompts of their own, the input included."""
    words: str = "a photo of a"
    """What the context starts from; see maple.py."""
    std: float = 0.02
    """Standard deviation of the deeper prompts, and of a random context."""
    reduction: int = 4
    """How many times narrower than a vector the middle of the maps is."""
    image_share: float = 0.1
    """Share of an image vector that its map makes."""
    text_share: float = 0.2
    """Share of a class vector that its map makes."""
    weight: float = 8.0
    """Of the consistency."""
    distance: Literal["cosine", "mse"] = "cosine"
    """1 - cosine, or the mean squared difference of unit vectors."""

    def __post_init__(self) -> None:
        check_counts("coprompt", context=self.context, depth=self.depth, reduction=self.reduction)
        check_starts("coprompt", self.std)
        self.consistency()
        for name in ("image_share", "text_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"coprompt: {name} is {getattr(self, name)}; it is a share, from 0 to 1")

    def consistency(self) -> Consistency:
        """The settings of the term."""
        return Consistency(weight=self.weight, distance=self.distance, descriptions=self.descriptions)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "CoPrompt":
        """Untrained prompts and maps."""
        if self.reduction > encoder.dim:
            raise ConfigError(f"coprompt: reduction is {self.reduction}, and vectors have {encoder.dim} numbers")
        layout = maple.Config(context=self.context, depth=self.depth, words=self.words, std=self.std)
        layout.check_fits("coprompt", encoder)
        return CoPrompt(self, layout, encoder, draw)


class CoPrompt(maple.MaPLe):
    """MaPLe's prompts, `adapter_text` and `adapter_image`, and the term."""

    def __init__(self, config: Config, layout: maple.Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__(layout, encoder, draw)
        self.coprompt, middle = config, encoder.dim // config.reduction
        self.adapter_text, self.adapter_image = (bottleneck(encoder.dim, middle, draw) for _ in range(2))

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c *b D"]:
        """With a share of what the map makes of them."""
        return mixed(out.vectors, self.adapter_text(out.vectors), self.coprompt.text_share)

    def image_vectors(self, out: Out) -> Float[Tensor, "b D"]:
        """With a share of what the map makes of them."""
        return mixed(out.vectors, self.adapter_image(out.vectors), self.coprompt.image_share)

    def terms(self) -> list[Term]:
        """Cross-entropy, and the consistency."""
        return [CrossEntropy(), self.coprompt.consistency().build(self)]


def mixed(vectors: Float[Tensor, "*n D"], made: Float[Tensor, "*n D"], share: float) -> Float[Tensor, "*n D"]:
    """share * made + (1 - share) * vectors."""
    return share * made + (1 - share) * vectors


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.0035,
        epochs=8,
        batch=4,
        views="randaugment",
        figures={"base": 84.0, "novel": 77.23, "harmonic mean": 80.48},
        note="Context, depth and weight by data set: 4, 12, 8 on ImageNet and SUN397; 4, 12, 4 on Caltech101 and Cars; "
        "2, 12, 0.1 on Pets and EuroSAT; 4, 9, 8 on Flowers; 4, 9, 0.5 on Food101, in 5 epochs; 4, 9, 2 on Aircraft; "
        "2, 12, 8 on DTD; 4, 12, 2 on UCF101. Their RandAugment is Dassl's, ours torchvision's. Sentences are "
        "those of their repository's gpt_file/*.json. A run by others gave a harmonic mean of 78.93.",
    ),
}
