"""MMA: bottlenecks beside the upper blocks of both towers, which share their middle (Yang et al. 2024, CVPR).

Written from a description of the authors' program (ZjjConan/Multi-Modal-Adapter), not from its code;
tests/test_golden.py compares logits, losses, gradients and steps. Level i stands beside block i - 1 as a whole: it is
given the block's input behind the frozen ln_1, and its result, times s, is added to the block's. Level 0 stands beside
the embedding. The authors rescale gradients by hand: an adapter's weights learn as if s were 1, and what flows through
it to the blocks below is the true gradient; at level 0 they do not. What differs: a text tower may be deeper than the
image tower, and a bottleneck as wide as a tower.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, filled
from polyprompt.errors import ConfigError
from polyprompt.nn.branches import Branch, Place
from polyprompt.towers.base import INPUT, Change, DualEncoder, TextTower, check_block
from polyprompt.values import Foreign


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of MMA."""

    start: int = 5
    """The first level: 0 is the embedding, level i the i-th block, counted from 1."""
    end: int = 12
    """The last level."""
    width: int = 32
    """m, numbers in the middle."""
    scale: float = 0.001
    """s, the factor on what is added."""
    template: str = "a photo of a {}."
    """What stands around the class name."""

    def __post_init__(self) -> None:
        check_counts("mma", width=self.width)
        if not 0 <= self.start <= self.end:
            raise ConfigError(f"mma: start is {self.start}, end is {self.end}; levels run from 0 up, start first")
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"mma: scale is {self.scale}; it must be above 0")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "MMA":
        """An untrained MMA; it differs from the frozen encoder by s from the start."""
        check_block("mma", encoder.text, "text", self.end - 1, f"end is {self.end}")
        check_block("mma", encoder.image, "image", self.end - 1, f"end is {self.end}")
        return MMA(self, encoder, draw)


class Ends(nn.Module):
    """A tower's own maps into the middle and out of it."""

    def __init__(self, tower: int, middle: int, draw: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Sequential(kaiming(tower, middle, draw), nn.ReLU())
        self.up = kaiming(middle, tower, draw)


class MMA(Adapter):
    """`text_adapter`, `visual_adapter` and `shared_adapter` by level, the authors' names."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        levels = [str(level) for level in range(config.start, config.end + 1)]
        widths = encoder.text.width, encoder.image.width
        self.text_adapter, self.visual_adapter = (
            nn.ModuleDict({level: Ends(width, config.width, draw) for level in levels}) for width in widths
        )
        self.shared_adapter = nn.ModuleDict(
            {level: nn.Sequential(kaiming(config.width, config.width, draw), nn.ReLU()) for level in levels}
        )

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """The template with each class name."""
        return filled(text, [self.config.template], names)

    def text_change(self, frozen: FrozenView) -> Change:
        """The text tower's bottlenecks."""
        return self._beside(self.text_adapter)

    def image_change(self, frozen: FrozenView) -> Change:
        """The image tower's bottlenecks."""
        return self._beside(self.visual_adapter)

    def _beside(self, ends: nn.ModuleDict) -> Change:
        branches: dict[tuple[int, Place], Branch] = {}
        for level, pair in ends.items():
            place: tuple[int, Place] = (INPUT, "input") if level == "0" else (int(level) - 1, "block")
            branches[place] = self._branch(cast(Ends, pair), self.shared_adapter[level], rescaled=level != "0")
        return Change(branches=branches)

    def _branch(self, ends: Ends, shared: nn.Module, *, rescaled: bool) -> Branch:
        s = self.config.scale

        def branch(x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
            if not rescaled:
                return s * ends.up(shared(ends.down(x)))
            return times_gradient(s * ends.up(shared(ends.down(times_gradient(x, s)))), 1 / s)

        return branch


class _TimesGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Foreign, x: Tensor, factor: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Foreign, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient * ctx.factor, None


def times_gradient(x: Float[Tensor, "*n d"], factor: float) -> Float[Tensor, "*n d"]:
    """`x`, whose gradient is multiplied by `factor`."""
    return _TimesGradient.apply(x, factor) if torch.is_grad_enabled() else x  # pyright: ignore[reportReturnType]


def kaiming(inputs: int, outputs: int, draw: torch.Generator) -> nn.Linear:
    """A linear map with normal weights of variance 2 / outputs (Kaiming, fan_out) and zero biases."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=draw) * (2 / outputs) ** 0.5)
        layer.bias.zero_()
    return layer


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.0015,
        epochs=5,
        batch=16,
        schedule="by-epoch",
        precision="amp",
        figures={"base": 83.2, "novel": 76.8, "harmonic mean": 79.87},
        note="On ImageNet the authors' batch is 128.",
    ),
}
