"""KgCoOp: CoOp whose class vectors are held near those of a hand-written template (Yao et al. 2023, arXiv:2303.13283).

Written from a description of the authors' program (htyao89/KgCoOp), not from its code; tests/test_golden.py compares
logits, terms, gradients and steps. The term is adapt/terms/kgcoop.py, for it goes with other methods too. What differs:
the authors' context is "a photo of a" with 4 vectors for all classes as soon as it starts from words, whatever else is
set; here what is set holds. Their class name always stands at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from polyprompt.adapt.adapter import Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.terms import CrossEntropy, Term
from polyprompt.adapt.terms.kgcoop import Config as Knowledge
from polyprompt.adapt.wording import check_counts, check_starts
from polyprompt.methods import coop
from polyprompt.towers.base import DualEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of KgCoOp."""

    context: int = 4
    """Learned vectors in front of the class name."""
    words: str = "a photo of a"
    """What the context starts from; words beyond its length stay in the text. Without words it starts at random."""
    per_class: bool = False
    """A context of its own for each class (CSC). It cannot be used for other classes."""
    std: float = 0.02
    """Standard deviation of a random start."""
    start: int = 0
    """The block of the text tower that the context enters; below a later one the words stand alone."""
    weight: float = 8.0
    """Of the term; 8 in all scripts of the authors, 1 in their program."""
    by_set: ClassVar[str] = "template"
    template: str = "a photo of a {}."
    """The teacher's sentence; the authors have one for each data set."""

    def __post_init__(self) -> None:
        check_counts("kgcoop", context=self.context)
        check_starts("kgcoop", self.std, start=self.start)
        self.knowledge()

    def knowledge(self) -> Knowledge:
        """The settings of the term."""
        return Knowledge(weight=self.weight, template=self.template)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "KgCoOp":
        """An untrained context, as coop.py's, and the term's settings."""
        return KgCoOp(self, encoder, names, draw)


class KgCoOp(coop.CoOp):
    """CoOp's context, and the term."""

    def __init__(self, config: Config, encoder: DualEncoder, names: Names, draw: torch.Generator) -> None:
        layout = coop.Config(
            context=config.context,
            words=config.words,
            per_class=config.per_class,
            std=config.std,
            start=config.start,
        )
        super().__init__(layout, encoder.text, names, draw)
        self.knowledge = config.knowledge()

    def terms(self) -> list[Term]:
        """Cross-entropy, and what holds class vectors back."""
        return [CrossEntropy(), self.knowledge.build(self)]


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.002,
        epochs=100,
        batch=128,
        figures={"base": 80.73, "novel": 73.6, "harmonic mean": 77.0},
        note="The teacher's template is chosen by data set. A set of fewer than 128 pictures is one step an epoch.",
    ),
    "few-shot": Published(
        config=Config(),
        rate=0.002,
        epochs=100,
        batch=128,
        note="The authors' script has 4 pictures a class.",
    ),
}
