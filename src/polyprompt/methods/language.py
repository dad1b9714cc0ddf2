"""Deep language prompting: IVLP (ivlp.py) without prompts in the image tower; a baseline of the MaPLe paper."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from polyprompt.adapt.adapter import Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.wording import check_counts, check_starts
from polyprompt.methods import ivlp
from polyprompt.towers.base import DualEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of deep language prompting."""

    context: int = 4
    """Learned vectors in front of the class name."""
    depth: int = 12
    """Blocks with prompts of their own, the input included."""
    words: str = "a photo of a"
    """What the context starts from; see ivlp.py."""
    std: float = 0.02
    """Standard deviation of a random start."""
    start: int = 0
    """The block that prompts enter; below a later one the words stand alone."""

    def __post_init__(self) -> None:
        check_counts("language", context=self.context, depth=self.depth)
        check_starts("language", self.std, start=self.start)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> ivlp.IVLP:
        """Untrained prompts of the text tower."""
        layout = ivlp.Config(
            text_context=self.context,
            text_depth=self.depth,
            image_depth=0,
            words=self.words,
            std=self.std,
            text_start=self.start,
        )
        layout.check_fits("language", encoder, text="depth")
        return ivlp.IVLP(layout, encoder, draw)


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(), rate=0.0025, epochs=5, batch=4, figures={"base": 81.72, "novel": 73.81, "harmonic mean": 77.56}
    ),
}
