"""CLIP-Adapter: a small map behind the image tower, mixed with what it is given (Gao et al. 2021, arXiv:2110.04544).

Written from a description of the authors' program (gaopengcuhk/CLIP-Adapter), not from its code; tests/test_golden.py
compares logits, losses, gradients and steps. Like their program, and unlike their paper, it adapts pictures alone, with
one ratio for all data sets. Nothing of the towers changes, so pictures and texts are encoded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.wording import check_counts, filled
from polyprompt.errors import ConfigError
from polyprompt.nn.linear import bottleneck
from polyprompt.towers.base import DualEncoder, Out, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of CLIP-Adapter."""

    ratio: float = 0.2
    """Share of the map's result in an image vector; 0 is zero-shot."""
    reduction: int = 4
    """How many times narrower than a vector the map's middle is."""
    by_set: ClassVar[str] = "template"
    template: str = "a photo of a {}."
    """What stands around the class name."""

    def __post_init__(self) -> None:
        check_counts("clip_adapter", reduction=self.reduction)
        if not 0 <= self.ratio <= 1:
            raise ConfigError(f"clip_adapter: ratio is {self.ratio}; it is a share, from 0 to 1")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "CLIPAdapter":
        """An untrained map of image vectors, `reduction` times narrower in its middle."""
        if self.reduction > encoder.dim:
            raise ConfigError(f"clip_adapter: reduction is {self.reduction}, and vectors have {encoder.dim} numbers")
        return CLIPAdapter(self, encoder.dim, draw)


class CLIPAdapter(Adapter):
    """`fc` is the map; the authors' name."""

    def __init__(self, config: Config, dim: int, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.fc = bottleneck(dim, dim // config.reduction, draw)

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """The template with each class name."""
        return filled(text, [self.config.template], names)

    def image_vectors(self, out: Out) -> Float[Tensor, "b D"]:
        """r x + (1 - r) f, where x is the map of f."""
        return self.config.ratio * self.fc(out.vectors) + (1 - self.config.ratio) * out.vectors


PUBLISHED: Mapping[Protocol, Published] = {
    "few-shot": Published(
        config=Config(),
        rate=0.002,
        epochs=200,
        batch=32,
        precision="fp32",
        figures={"16 shots (ResNet-50)": 74.44, "8 shots": 71.4, "4 shots": 68.61, "2 shots": 65.55, "1 shot": 62.67},
        note="Its authors ship no settings and point to CoOp's; these are those of VDT-Adapter's copy for a ResNet-50. "
        "The figures are from a log in Tip-Adapter's repository.",
    ),
}
