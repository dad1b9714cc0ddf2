"""CLIP-LoRA: low-rank updates of the attention's weights in both towers (Zanella and Ben Ayed 2024, arXiv:2405.18541).

Written from a description of the authors' program (MaxZanella/CLIP-LoRA), not from its code; tests/test_golden.py
compares logits, losses, gradients and steps. A chosen weight W becomes W + s B A with s = alpha / sqrt(r). Updates
stand beside the frozen weights as branches, so texts still share their beginnings. What differs: with dropout, texts
that begin alike share its mask there; image towers of any depth take the blocks of the authors' table for twelve; the
rate ends at 0, theirs at 1e-6. At a dropout of exactly 0 their program takes another path with other gradients, which
no published run used; this one always takes the path that theirs takes above 0.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import nn

from polyprompt.adapt.adapter import Adapter, Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, filled
from polyprompt.errors import ConfigError, DepthError
from polyprompt.nn.branches import LowRank, Place
from polyprompt.towers.base import Change, DualEncoder, ImageTower, TextTower, check_open

POSITIONS = {
    "bottom": range(4), "mid": range(4, 8), "up": range(8, 12), "half-up": range(6, 12), "half-bottom": range(6),
    "top3": range(9, 12),
}  # fmt: skip
"""Blocks by name; "all" is every one. Those that a tower does not have are passed over."""
PLACES: tuple[Place, ...] = ("query", "key", "value", "out")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of CLIP-LoRA."""

    rank: int = 2
    """r, rows of A."""
    alpha: float = 1.0
    """An update counts alpha / sqrt(r)."""
    places: tuple[str, ...] = ("query", "key", "value")
    """Which of query, key, value and out get an update."""
    towers: Literal["both", "text", "image"] = "both"
    """Which towers do."""
    position: str = "all"
    """In which blocks: all, bottom, mid, up, half-up, half-bottom or top3."""
    dropout: float = 0.25
    """Of an update's input, while training."""
    by_set: ClassVar[str] = "template"
    template: str = "a photo of a {}."
    """What stands around the class name."""

    def __post_init__(self) -> None:
        check_counts("clip_lora", rank=self.rank)
        if not 0 < self.alpha < math.inf:
            raise ConfigError(f"clip_lora: alpha is {self.alpha}; it must be above 0, or nothing is learned")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"clip_lora: dropout is {self.dropout}; it is a share, from 0 to less than 1")
        if self.position not in ("all", *POSITIONS):
            raise ConfigError(f"clip_lora: position is {self.position!r}; it is one of all, {', '.join(POSITIONS)}")
        if not self.places or not set(self.places) <= set(PLACES):
            raise ConfigError(f"clip_lora: places is {', '.join(self.places)!r}; choose from {', '.join(PLACES)}")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "CLIPLoRA":
        """Updates that change nothing yet: B is zero."""
        return CLIPLoRA(self, encoder, draw)


class CLIPLoRA(Adapter):
    """`text[block][place]` and `image[block][place]` are the updates."""

    scale = 100.0

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.text = self._updates("text", encoder.text, draw)
        self.image = self._updates("image", encoder.image, draw)

    def _updates(self, name: str, tower: TextTower | ImageTower, draw: torch.Generator) -> nn.ModuleDict:
        config = self.config
        if config.towers not in ("both", name):
            return nn.ModuleDict()
        check_open(tower, name)
        if config.rank > tower.width:
            raise ConfigError(f"clip_lora: rank is {config.rank}, above the {name} tower's width of {tower.width}")
        blocks: Iterable[int] = range(tower.depth)
        if config.position != "all":
            blocks = [block for block in POSITIONS[config.position] if block < tower.depth]
            if not blocks:
                raise DepthError(f"clip_lora: position is {config.position!r}, and the {name} tower has no such block")
        places: list[Place] = [place for place in PLACES if place in config.places]

        def update(place: Place) -> LowRank:
            factor = config.alpha / config.rank**0.5
            return LowRank(tower.widths(place), config.rank, draw, factor=factor, dropout=config.dropout)

        def updates() -> nn.ModuleDict:
            return nn.ModuleDict({place: update(place) for place in places})

        return nn.ModuleDict({str(block): updates() for block in blocks})

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """The template with each class name."""
        return filled(text, [self.config.template], names)

    def text_change(self, frozen: FrozenView) -> Change:
        """The text tower's updates."""
        return _beside(self.text)

    def image_change(self, frozen: FrozenView) -> Change:
        """The image tower's updates."""
        return _beside(self.image)


def _beside(updates: nn.ModuleDict) -> Change:
    return Change(
        branches={
            (int(block), cast(Place, place)): update
            for block, places in updates.items()
            for place, update in cast(nn.ModuleDict, places).items()
        }
    )


PUBLISHED: Mapping[Protocol, Published] = {
    "few-shot": Published(
        config=Config(), rate=2e-4, epochs=None, steps_a_shot=500, batch=32, optimizer="adamw", weight_decay=0.01,
        schedule="cosine",
    ),
}  # fmt: skip
