"""LAMM: the first tokens of class names learn, alone or beside CoOp's context or MaPLe's prompts (Gao et al. 2024,
arXiv:2312.08212).

Written from a description of the authors' program (gaojingsheng/LAMM), not from its code; tests/test_golden.py compares
logits, terms, gradients and steps. As many tokens of each name learn as the shortest name has; beside MaPLe one. They
stand behind the learned context in place of what is there: the name's first tokens, or, where a shorter context leaves
words over, the first of these (with the authors' two vectors of "a photo of a" the word "of"), and then the whole name
is still there. Three terms hold them back: their own distance from where they began, that of class vectors from those
of the plain names in the same context (reference), and that of the logits. In the last the learned side is the target
and the reference is scored, as in their program. What differs: a name that is known keeps its tokens among new ones;
new names are plain, as theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from polyprompt.adapt.adapter import Adapter, Names, class_logits
from polyprompt.adapt.published import Protocol, Published
from polyprompt.adapt.terms import CrossEntropy, Result, Term
from polyprompt.adapt.view import FrozenView
from polyprompt.adapt.wording import behind, check_counts, check_starts, context_ids, in_prompt
from polyprompt.errors import ConfigError
from polyprompt.methods import coop, maple
from polyprompt.nn.processes import summed
from polyprompt.nn.prompts import slots
from polyprompt.towers.base import Change, DualEncoder, Out, Rows, TextTower, check_open

TEMPERATURE, LOGITS = 2.0, 0.05
"""Of both softmaxes, and the weight of the logits' term; constants of the authors' program."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of LAMM."""

    beside: Literal["words", "coop", "maple"] = "words"
    """What stands around the learned tokens: words as they are, CoOp's context, or MaPLe's prompts."""
    words: str = "a photo of a"
    """The words, which CoOp's context and MaPLe's start from."""
    context: int = 2
    """Learned vectors per block, beside MaPLe; CoOp's context has one for each token of the words."""
    depth: int = 9
    """Blocks with prompts of their own, beside MaPLe."""
    std: float = 0.02
    """Standard deviation of MaPLe's deeper prompts."""
    shots: int = 1
    """What the distance of the tokens from where they began is divided by; the authors' few-shot runs all have 1."""

    def __post_init__(self) -> None:
        check_counts("lamm", context=self.context, depth=self.depth, shots=self.shots)
        check_starts("lamm", self.std)
        if not self.words.strip():
            raise ConfigError("lamm: words is empty; class names need a sentence around them, as in 'a photo of a'")

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "LAMM":
        """Tokens as the tower has them."""
        check_open(encoder.text, "text")
        prompts: Adapter | None = None
        if self.beside == "coop":
            count = len(encoder.text.words(self.words))
            prompts = coop.Config(context=count, words=self.words).build(encoder, names, draw)
        if self.beside == "maple":
            layout = maple.Config(context=self.context, depth=self.depth, words=self.words, std=self.std)
            layout.check_fits("lamm", encoder)
            prompts = maple.MaPLe(layout, encoder, draw)
        return LAMM(self, prompts, encoder.text, names)


class LAMM(Adapter):
    """`tokens` [c m d], and `prompts`, a CoOp or a MaPLe, if there are any."""

    def __init__(self, config: Config, prompts: Adapter | None, text: TextTower, names: Names) -> None:
        super().__init__()
        self.config, self.prompts = config, prompts
        words = len(text.words(config.words))
        self.context = {"words": 0, "coop": words, "maple": config.context}[config.beside]
        self.owners = tuple(map(in_prompt, names))
        first = [behind(text, name) for name in self.owners]
        count = 1 if config.beside == "maple" else min(map(len, first))
        starts = [text.vectors(ids[:count]).detach().float() for ids in first]
        self.tokens = nn.Parameter(torch.stack(starts).clone())
        self.start: Tensor
        self.register_buffer("start", torch.stack(starts).clone(), persistent=False)

    def rows(self, text: TextTower, names: Names) -> list[list[int]]:
        """Each class with its learned tokens; where prompts learn, behind it the plain name in the same context."""
        rows = []
        for name in map(in_prompt, names):
            rows += [self._row(text, name, learned=True)]
            rows += [] if self.prompts is None else [self._row(text, name, learned=False)]
        return rows

    def _row(self, text: TextTower, name: str, *, learned: bool) -> list[int]:
        used, count = self.context, self.tokens.shape[1]
        front = context_ids(text, used, self.config.words)
        at = used or len(front)
        row = [*front, *behind(text, f"{name}.")]
        if not learned or name not in self.owners:
            return row
        return [*row[:at], *slots(used + self.owners.index(name) * count, count), *row[at + count :]]

    def text_change(self, frozen: FrozenView) -> Change:
        """The prompts' change, with the learned tokens behind its vectors at the input."""
        tokens = self.tokens.flatten(0, 1)
        if self.prompts is None:
            return Change(Rows(tokens))
        change = self.prompts.text_change(frozen)
        assert change.input is not None
        deeper = {block: replace(one, of=tuple(range(len(one.rows)))) for block, one in change.prompts.items()}
        return Change(Rows(torch.cat([change.input.rows, tokens])), deeper)

    def image_change(self, frozen: FrozenView) -> Change:
        """What the prompts change in the image tower; nothing, where no prompts learn."""
        return super().image_change(frozen) if self.prompts is None else self.prompts.image_change(frozen)

    def class_vectors(self, out: Out, frozen: FrozenView) -> Float[Tensor, "c D"]:
        """Those of the learned tokens."""
        return out.vectors if self.prompts is None else out.vectors[::2]

    def reference(self, result: Result) -> Float[Tensor, "c D"]:
        """Those of the plain names in the same context."""
        if self.prompts is None:
            return result.frozen.classes([f"{self.config.words} {{}}."])[:, 0]
        return result.text_out.vectors[1::2]

    def terms(self) -> list[Term]:
        """Cross-entropy, and what holds the tokens back."""
        return [CrossEntropy(), Hierarchical(self)]


class Hierarchical(Term):
    """The losses in the space of parameters, of features and of logits."""

    def __init__(self, adapter: LAMM) -> None:
        super().__init__()
        self._adapter = (adapter,)  # not a part of this module

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """token_drift, summed over all numbers; feature_drift, mean over the batch; logit_drift, T^2 cross-entropy.

        A batch of one class has no feature_drift.
        """
        adapter, labels = self._adapter[0], result.labels
        reference = adapter.reference(result)
        apart = 1 - F.cosine_similarity(result.classes[labels], reference.detach()[labels], dim=-1)
        there = summed(torch.bincount(labels, minlength=len(reference)).to(apart.dtype))
        several = ((there > 0).sum() > 1).to(apart.dtype)
        expected = class_logits(result.images, reference, result.scale) / TEMPERATURE
        probabilities = (result.scores["logits"] / TEMPERATURE).softmax(dim=-1)
        return {
            "token_drift": (adapter.tokens - adapter.start).square().sum() / adapter.config.shots,
            "feature_drift": several * apart.mean(),
            "logit_drift": LOGITS * TEMPERATURE**2 * F.cross_entropy(expected, probabilities),
        }


PUBLISHED: Mapping[Protocol, Published] = {
    "few-shot": Published(
        config=Config(),
        rate=0.002,
        epochs=50,
        batch=32,
        note="Alone. The authors add it to CoOp with the same settings, to MaPLe with rate 0.0035, 5 epochs, batch 4. "
        "Their page has figures as pictures only: about 81 at 16 shots, on average 2.31 above what was best.",
    ),
}
