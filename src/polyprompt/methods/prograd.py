"""ProGrad: CoOp whose steps may not go against the frozen encoder (Zhu et al. 2023, arXiv:2205.14865).

Written from a description of the authors' program (BeierZhu/Prompt-align), not from its code; tests/test_golden.py
compares logits, losses, gradients and steps. The projection is adapt/terms/prograd.py, for it goes with other methods
too. Words start a context in the authors' own way: there are as many as blanks part, a comma is none of its own; the
first so many of their tokens start the last vectors of the context, those before start at exactly 0, and what tokens
are left over stand behind it. Where the tower puts no token before a text they start at random instead: a zero that
sees only zeros stays one through all blocks of an LLM, and each norm on the way back makes its gradient larger.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from polyprompt.adapt.adapter import Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.terms import CrossEntropy, Term
from polyprompt.adapt.terms.prograd import Config as Projection
from polyprompt.adapt.wording import check_counts, check_starts, context_rows
from polyprompt.errors import ConfigError
from polyprompt.methods import coop
from polyprompt.nn.prompts import slots
from polyprompt.towers.base import DualEncoder, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of ProGrad."""

    context: int = 16
    """Learned vectors."""
    words: str = "a photo of a"
    """What the last of them start from, one vector a word. Without words all start at random."""
    position: str = "end"
    """Where the class name stands: "end" or "front"."""
    per_class: bool = False
    """A context of its own for each class (CSC), where there are no words. It cannot be used for other classes."""
    std: float = 0.02
    """Standard deviation of a random start."""
    share: float = 1.0
    """Of what points against the teacher, so much is taken away (lambda)."""
    temperature: float = 1.0
    """Of both softmaxes (T)."""
    template: str = "a photo of a {}."
    """The teacher's sentence; the authors have one for each data set, and start the context from it."""

    def __post_init__(self) -> None:
        check_counts("prograd", context=self.context)
        check_starts("prograd", self.std)
        self.projection()
        if self.position not in ("end", "front"):
            raise ConfigError(f'prograd: position is {self.position!r}; it is "end" or "front"')
        if self.words and self.per_class:
            raise ConfigError("prograd: per_class goes with a random start only; leave out words")
        if len(self.words.split()) > self.context:
            raise ConfigError(f"prograd: {self.words!r} has more words than context has vectors, {self.context}")

    def projection(self) -> Projection:
        """The settings of the term."""
        return Projection(share=self.share, temperature=self.temperature, template=self.template)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "ProGrad":
        """An untrained context that starts in ProGrad's way, and the term's settings."""
        return ProGrad(self, encoder, names, draw)


class ProGrad(coop.CoOp):
    """CoOp's context, started in its own way, and the term."""

    def __init__(self, config: Config, encoder: DualEncoder, names: Names, draw: torch.Generator) -> None:
        layout = coop.Config(
            context=config.context, position=config.position, per_class=config.per_class, std=config.std
        )
        super().__init__(layout, encoder.text, names, draw)
        self.projection, self.words = config.projection(), config.words
        if config.words:
            known = len(config.words.split())
            start = torch.zeros_like(self.context) if encoder.text.front else self.context.detach().clone()
            start[config.context - known :] = encoder.text.vectors(encoder.text.words(config.words)[:known]).detach()
            self.context = nn.Parameter(start)

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Context, what is left of the words, and class name."""
        if not self.words:
            return super().rows(text, names)
        left = text.words(self.words)[len(self.words.split()) :]
        return context_rows(text, [*slots(0, self.config.context), *left], names, self.config.position)

    def terms(self) -> list[Term]:
        """Cross-entropy, and what is taken off its gradient."""
        return [CrossEntropy(), self.projection.build(self)]


NOTE = (
    "On RN50. The template, and with it the words, are chosen by data set; share is 0.8 for 8 and 16 pictures a class "
    "of Flowers, DTD and EuroSAT."
)

PUBLISHED: Mapping[Protocol, Published] = {
    "few-shot": Published(config=Config(), rate=0.002, epochs=200, batch=32, fewer=((1, 50), (4, 100)), note=NOTE),
    "base-to-novel": Published(
        config=Config(),
        rate=0.002,
        epochs=100,
        batch=32,
        note=f"{NOTE} With 4 pictures a class; 50 epochs on ImageNet. KgCoOp's authors report 82.48 base, 70.75 novel "
        "and 76.16 for ViT-B/16 with 16.",
    ),
}
