"""IVLP: prompts in both towers that know nothing of each other (Rasheed et al. 2023; MaPLe's and PromptSRC's baseline).

Authors' code: muzairkhattak/multimodal-prompt-learning, trainers/independent_vlp.py. Deep language prompting
(language.py), VPT (vpt.py) and PromptSRC (promptsrc.py) are this layout with other settings; tests/test_golden.py
compares them all with the authors' code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from polyprompt.adapt.adapter import Adapter, Names, entering
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, context_ids, context_rows, context_start, filled
from polyprompt.errors import ConfigError
from polyprompt.nn.prompts import normal
from polyprompt.towers.base import NOTHING, Change, DualEncoder, TextTower, check_depth


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of independent prompting; a depth of 0 leaves that tower without prompts."""

    text_context: int = 2
    """Learned vectors in front of the class name."""
    text_depth: int = 12
    """Blocks of the text tower with prompts of their own, the input included."""
    image_context: int = 2
    """Learned vectors behind the patches."""
    image_depth: int = 12
    """Blocks of the image tower with prompts of their own, the input included."""
    words: str = "a photo of a"
    """What the context starts from; words beyond its length stay in the text. Without words it starts at random."""
    template: str = "a photo of a {}."
    """What stands around the class name where the text has no prompts."""
    std: float = 0.02
    """Standard deviation of a random start."""
    text_start: int = 0
    """The block of the text tower that prompts enter; below a later one the words stand alone."""
    image_start: int = 0
    """The block of the image tower that prompts enter."""

    def __post_init__(self) -> None:
        check_counts("ivlp", text_context=self.text_context, image_context=self.image_context)
        check_starts("ivlp", self.std, text_start=self.text_start, image_start=self.image_start)
        if min(self.text_depth, self.image_depth) < 0 or not self.text_depth + self.image_depth:
            raise ConfigError(
                f"ivlp: text_depth is {self.text_depth}, image_depth {self.image_depth}; neither can be below 0, and "
                f"one must be at least 1"
            )

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "IVLP":
        """Untrained prompts of both towers."""
        self.check_fits("ivlp", encoder)
        return IVLP(self, encoder, draw)

    def check_fits(
        self, method: str, encoder: DualEncoder, text: str = "text_depth", image: str = "image_depth"
    ) -> None:
        """Refuses an encoder whose towers have not so many blocks, or take no prompts.

        Args:
            method: names itself.
            text, image: what it calls the depths.

        Raises:
            ConfigError: says which, and what to give.
        """
        if self.text_depth:
            check_depth(method, encoder.text, "text", self.text_depth, self.text_start, setting=text)
        if self.image_depth:
            check_depth(method, encoder.image, "image", self.image_depth, self.image_start, setting=image)


class IVLP(Adapter):
    """`text[i]` and `image[i]` are the prompts of the i-th block, counted from the start."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.text = nn.ParameterList()
        if config.text_depth:
            self.text.append(context_start(encoder.text, config.text_context, config.words, config.std, draw))
        for _ in range(config.text_depth - 1):
            self.text.append(normal(config.text_context, encoder.text.width, config.std, draw))
        self.image = nn.ParameterList()
        for _ in range(config.image_depth):
            self.image.append(normal(config.image_context, encoder.image.width, config.std, draw))

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Context, the rest of its words, class name; or the template."""
        config = self.config
        if not len(self.text):
            return filled(text, [config.template], names)
        return context_rows(text, context_ids(text, config.text_context, config.words, config.text_start), names)

    def text_change(self, frozen: FrozenView) -> Change:
        """The text prompts as they are."""
        return entering(tuple(self.text), self.config.text_start) if len(self.text) else NOTHING

    def image_change(self, frozen: FrozenView) -> Change:
        """The image prompts as they are."""
        return entering(tuple(self.image), self.config.image_start) if len(self.image) else NOTHING


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(), rate=0.0035, epochs=5, batch=4, figures={"base": 82.15, "novel": 74.07, "harmonic mean": 77.9}
    ),
}
