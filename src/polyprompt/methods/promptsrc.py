"""PromptSRC: independent prompts (ivlp.py) that the frozen encoder holds back (Khattak et al. 2023, arXiv:2307.06948).

The losses and the average over epochs are a term (adapt/terms/promptsrc.py), since they go with other methods too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from polyprompt.adapt.adapter import Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.terms import CrossEntropy, Term
from polyprompt.adapt.terms.promptsrc import Config as Consistency
from polyprompt.adapt.wording import check_counts, check_starts
from polyprompt.methods import ivlp
from polyprompt.towers.base import DualEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of PromptSRC; the names are those of IVLP's."""

    text_context: int = 4
    """Learned vectors in front of the class name."""
    text_depth: int = 9
    """Blocks of the text tower with prompts of their own, the input included."""
    image_context: int = 4
    """Learned vectors behind the patches."""
    image_depth: int = 9
    """Blocks of the image tower with prompts of their own, the input included."""
    words: str = "a photo of a"
    """What the context starts from; see ivlp.py."""
    std: float = 0.02
    """Standard deviation of a random start."""
    text_start: int = 0
    """The block of the text tower that prompts enter; below a later one the words stand alone."""
    image_start: int = 0
    """The block of the image tower that prompts enter."""
    consistency: Consistency = field(default_factory=Consistency)
    """The losses that hold the prompts back, and their average over epochs."""

    def __post_init__(self) -> None:
        check_counts("promptsrc", text_context=self.text_context, image_context=self.image_context)
        check_starts("promptsrc", self.std, text_start=self.text_start, image_start=self.image_start)
        check_counts("promptsrc", text_depth=self.text_depth, image_depth=self.image_depth)

    def check_epochs(self, epochs: int) -> None:
        """Says before training what the average would say after it.

        Raises:
            ConfigError: no epoch would count.
        """
        self.consistency.check_epochs(epochs)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "PromptSRC":
        """Untrained prompts of both towers, and what holds them back while they learn."""
        return PromptSRC(self, encoder, draw)


class PromptSRC(ivlp.IVLP):
    """IVLP's prompts, and the terms."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        layout = ivlp.Config(
            text_context=config.text_context,
            text_depth=config.text_depth,
            image_context=config.image_context,
            image_depth=config.image_depth,
            words=config.words,
            std=config.std,
            text_start=config.text_start,
            image_start=config.image_start,
        )
        layout.check_fits("promptsrc", encoder)
        super().__init__(layout, encoder, draw)
        self.consistency = config.consistency

    def terms(self) -> list[Term]:
        """Cross-entropy, and what holds the prompts back."""
        return [CrossEntropy(), self.consistency.build(self)]


CROSS_DATASET = replace(Config(), text_depth=3, image_depth=3, consistency=Consistency(mean=6.0, std=10.0))
FEW_SHOT = replace(Config(), consistency=Consistency(mean=30.0, std=30.0))

PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.0025,
        epochs=20,
        batch=4,
        figures={
            "Caltech101 base": 98.1,
            "Caltech101 novel": 94.03,
            "base": 84.26,
            "novel": 76.1,
            "harmonic mean": 79.97,
        },
    ),
    "cross-dataset": Published(
        config=CROSS_DATASET, rate=0.0025, epochs=20, batch=4, figures={"ImageNet": 71.27, "ten others": 65.81}
    ),
    "few-shot": Published(
        config=FEW_SHOT,
        rate=0.0025,
        epochs=50,
        batch=4,
        figures={"16 shots": 82.87, "8 shots": 80.69, "4 shots": 78.35, "2 shots": 75.29, "1 shot": 72.32},
        note="For Cars, Flowers, Aircraft, DTD and EuroSAT the authors averaged with mean 45 and std 5.",
    ),
}
