"""Bidirectional fusion: each block's text and image prompts are mixed with images of each other (Yin and Zhao 2025).

A *reconstruction*: of "Bidirectional layer-wise fusion" (Information Fusion 2025) nothing but the title could be read,
no abstract, text or code. Everything here is our choice: prompts of both towers for each of the first J blocks, as in
IVLP; two linear maps a block between the towers, with biases; two gates a block, one number each,

    text_i  = s(a_i) t_i + (1 - s(a_i)) V2T_i(v_i)        image_i = s(e_i) v_i + (1 - s(e_i)) T2V_i(t_i)

with s the sigmoid and t, v as they are before they are mixed. Gates start at `gate`; that of the first text prompts,
which start from words, at 0.98. Gates of 1 make it IVLP, 1 for text and 0 for pictures MaPLe: tests/methods/
test_fusion.py compares both with their authors' numbers. Its nearest relative with code, BMIP, weighs by attention.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, entering
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, context_ids, context_rows, context_start
from polyprompt.errors import ConfigError
from polyprompt.nn.linear import linear
from polyprompt.nn.prompts import normal
from polyprompt.towers.base import Change, DualEncoder, TextTower, check_depths


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of bidirectional fusion; all of them ours."""

    context: int = 2
    """Learned vectors per block and tower."""
    depth: int = 9
    """Blocks with prompts of their own, the input included (J)."""
    words: str = "a photo of a"
    """What the context starts from; words beyond its length stay in the text. Without words it starts at random."""
    gate: float = 0.5
    """Share of a prompt in its mixture that gates start from."""
    std: float = 0.02
    """Standard deviation of all prompts but those from words."""

    def __post_init__(self) -> None:
        check_counts("fusion", context=self.context, depth=self.depth)
        check_starts("fusion", self.std)
        if not 0 < self.gate < 1:
            raise ConfigError(f"fusion: gate is {self.gate}; it is a share between 0 and 1")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "Fusion":
        """Untrained prompts, maps and gates."""
        check_depths("fusion", encoder, self.depth)
        return Fusion(self, encoder, draw)


class Fusion(Adapter):
    """`text`, `image`: prompts by block; `to_text`, `to_image`: maps; `text_gates`, `image_gates` [k], one a block."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        text, image, count = encoder.text.width, encoder.image.width, config.context
        self.text = nn.ParameterList([context_start(encoder.text, count, config.words, config.std, draw)])
        for _ in range(config.depth - 1):
            self.text.append(normal(count, text, config.std, draw))
        self.image = nn.ParameterList([normal(count, image, config.std, draw) for _ in range(config.depth)])
        self.to_text = nn.ModuleList([linear(image, text, draw) for _ in range(config.depth)])
        self.to_image = nn.ModuleList([linear(text, image, draw) for _ in range(config.depth)])
        start = torch.full((config.depth,), math.log(config.gate / (1 - config.gate)))
        self.image_gates, self.text_gates = nn.Parameter(start.clone()), nn.Parameter(start)
        if config.words:
            self.text_gates.data[0] = 4.0

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Context, the rest of its words, class name."""
        return context_rows(text, context_ids(text, self.config.context, self.config.words), names)

    def text_change(self, frozen: FrozenView) -> Change:
        """The text prompts, mixed with images of the image prompts."""
        images = [to(prompts) for to, prompts in zip(self.to_text, self.image, strict=True)]
        return entering(mixed(tuple(self.text), images, self.text_gates))

    def image_change(self, frozen: FrozenView) -> Change:
        """The image prompts, mixed with images of the text prompts."""
        images = [to(prompts) for to, prompts in zip(self.to_image, self.text, strict=True)]
        return entering(mixed(tuple(self.image), images, self.image_gates))


def mixed(
    prompts: tuple[Float[Tensor, "p d"], ...], others: list[Float[Tensor, "p d"]], gates: Float[Tensor, "k"]
) -> list[Float[Tensor, "p d"]]:
    """s prompts + (1 - s) others, block by block, where s is the gate's sigmoid."""
    shares = gates.sigmoid()
    return [share * one + (1 - share) * other for share, one, other in zip(shares, prompts, others, strict=True)]


PUBLISHED: Mapping[Protocol, Published] = {}
