"""VPT: prompts in the image tower alone (Jia et al. 2022, arXiv:2203.12119), as the MaPLe repository adapts CLIP with
it.

Authors' code: muzairkhattak/multimodal-prompt-learning, trainers/vpt.py. Shallow is depth 1. IVLP (ivlp.py) without
text prompts; class features come from a fixed template and are computed once.
"""

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
    """Settings of VPT."""

    context: int = 8
    """Learned vectors behind the patches."""
    depth: int = 12
    """Blocks with prompts of their own, the input included; 1 is VPT-shallow."""
    template: str = "a photo of a {}."
    """What stands around the class name."""
    std: float = 0.02
    """Standard deviation of the random start."""
    start: int = 0
    """The block that prompts enter."""

    def __post_init__(self) -> None:
        check_counts("vpt", context=self.context, depth=self.depth)
        check_starts("vpt", self.std, start=self.start)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> ivlp.IVLP:
        """Untrained prompts of the image tower."""
        layout = ivlp.Config(
            text_depth=0,
            image_context=self.context,
            image_depth=self.depth,
            template=self.template,
            std=self.std,
            image_start=self.start,
        )
        layout.check_fits("vpt", encoder, image="depth")
        return ivlp.IVLP(layout, encoder, draw)


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(), rate=0.0025, epochs=5, batch=4, figures={"base": 80.24, "novel": 73.43, "harmonic mean": 76.68}
    ),
}
