"""TCP: prompts made from each class's own frozen vector, put into the middle of the text tower (Yao et al. 2024, CVPR).

Textual-based class-aware prompt tuning, arXiv:2311.18231. Written from a description of the authors' program
(htyao89/Textual-based_Class-aware_prompt_tuning), not from its code; tests/test_golden.py compares logits, terms,
gradients and steps. A learned context stands in place of the first words of a sentence. At the input of one block, a
small network's image of the class's frozen vector takes the place of the first tokens, class by class and without
positions. Below that block class names share the context, and all that is computed of it.

What differs: the authors' program fixes the block at 8, the tokens at 4 and the weight at 8; here these are settings. A
text tower that has no such block is an error, where theirs leaves the prompts out.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.terms import CrossEntropy, Term
from polyprompt.adapt.terms.kgcoop import Config as Knowledge
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import check_counts, check_starts, context_start, filled
from polyprompt.errors import ConfigError
from polyprompt.nn.linear import linear
from polyprompt.nn.prompts import slots
from polyprompt.towers.base import Change, DualEncoder, Rows, TextTower, check_block
from polyprompt.towers.transformer import quick_gelu


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of TCP."""

    context: int = 4
    """Learned vectors, in place of the first tokens of the sentence."""
    words: str = "a photo of a"
    """What the context starts from. Without words it starts at random."""
    std: float = 0.02
    """Standard deviation of a random start."""
    tokens: int = 4
    """Vectors made from a class's frozen vector."""
    block: int = 8
    """The block of the text tower that they enter, counted from 0."""
    reduction: int = 4
    """The hidden width of the network is that of a vector divided by this."""
    sentence: str = "X X X X {}."
    """What stands around the class name; the authors' says by data set what it is: "X X X X {}, a type of pet."."""
    template: str = "a photo of a {}."
    """The teacher's sentence, which the network is given; the authors have one for each data set."""
    weight: float = 8.0
    """Of the term that holds class vectors near the teacher's."""

    def __post_init__(self) -> None:
        check_counts("tcp", context=self.context, tokens=self.tokens, reduction=self.reduction)
        check_starts("tcp", self.std, block=self.block)
        self.knowledge()

    def knowledge(self) -> Knowledge:
        """The settings of the term."""
        return Knowledge(weight=self.weight, template=self.template)

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "TCP":
        """An untrained context, and the network that makes prompts of class vectors."""
        check_block("tcp", encoder.text, "text", self.block, f"block, counted from 0, is {self.block}")
        if encoder.dim < self.reduction:
            raise ConfigError(f"tcp: reduction is {self.reduction}, and vectors have {encoder.dim} numbers; use less")
        front = encoder.text.words(self.sentence.partition("{}")[0])
        if len(front) < max(self.context, self.tokens):
            raise ConfigError(
                f"tcp: sentence {self.sentence!r} has {len(front)} tokens in front of the class name, and context "
                f"{self.context} and tokens {self.tokens} take the place of so many"
            )
        return TCP(self, encoder, draw)


class TCP(Adapter):
    """The context [p d], and the network from class vectors to prompts; the authors' names."""

    def __init__(self, config: Config, encoder: DualEncoder, draw: torch.Generator) -> None:
        super().__init__()
        self.config, hidden = config, encoder.dim // config.reduction
        self.count = max(config.context, config.tokens)
        self.ctx = nn.Parameter(context_start(encoder.text, config.context, config.words, config.std, draw))
        layers = [
            ("linear1", linear(encoder.dim, hidden, draw)),
            ("linear2", linear(hidden, config.tokens * encoder.text.width, draw)),
        ]
        self.meta_net = nn.ModuleDict(OrderedDict(layers))
        front = encoder.text.vectors(encoder.text.words(config.sentence.partition("{}")[0])[: self.count])
        self.left: Tensor
        self.register_buffer("left", front[config.context :].detach().clone(), persistent=False)

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """The sentence with each class name, and slots of its own in place of the first tokens."""
        rows = filled(text, [self.config.sentence], names)
        return [[*slots(number * self.count, self.count), *row[self.count :]] for number, row in enumerate(rows)]

    def text_change(self, frozen: FrozenView) -> Change:
        """The context for all classes, and further up each class's own prompts."""
        prompts = self.class_prompts(frozen)
        classes, tokens = len(prompts), self.config.tokens
        indices = (number * tokens + row if row < tokens else -1 for number, row in self._slots(classes))
        shared = Rows(torch.cat([self.ctx, self.left]), tuple(row for _, row in self._slots(classes)))
        return Change(shared, {self.config.block: Rows(prompts.flatten(0, 1), tuple(indices))})

    def _slots(self, classes: int) -> Iterable[tuple[int, int]]:
        return itertools.product(range(classes), range(self.count))

    def class_prompts(self, frozen: FrozenView) -> Float[Tensor, "c p d"]:
        """What the network makes of each class's frozen unit vector."""
        teacher = F.normalize(frozen.classes([self.config.template])[:, 0], dim=-1)
        made = self.meta_net["linear2"](quick_gelu(self.meta_net["linear1"](teacher)))
        return made.unflatten(-1, (self.config.tokens, -1))

    def terms(self) -> list[Term]:
        """Cross-entropy, and what holds class vectors back."""
        return [CrossEntropy(), self.config.knowledge().build(self)]


PUBLISHED: Mapping[Protocol, Published] = {
    "base-to-novel": Published(
        config=Config(),
        rate=0.002,
        epochs=50,
        batch=32,
        optimizer="adam",
        eps=1e-3,
        figures={"base": 84.13, "novel": 75.36, "harmonic mean": 79.51},
        note="Sentence and template are chosen by data set. On ImageNet and SUN397 new classes are scored after epoch "
        "25 of 50. Adam's eps is set by hand, in Dassl, as the authors' page says.",
    ),
    "few-shot": Published(
        config=Config(),
        rate=0.002,
        epochs=50,
        batch=32,
        optimizer="adam",
        eps=1e-3,
        note="With 4 pictures a class.",
    ),
}
