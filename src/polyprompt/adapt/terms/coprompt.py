"""CoPrompt's consistency with the frozen encoder under other words and another view, on any method.

Roy and Etemad 2024, arXiv:2306.01195. Written from a description of the authors' program (ShuvenduRoy/CoPrompt), not
from its code; tests/test_golden.py compares both parts, step by step. In each step class vectors are compared with one
sentence about each class, of the same number in all lists, and image vectors with the frozen encoder's of a second
random view of the pictures, where they are augmented; else of the same pictures. What differs: classes may have
different numbers of sentences, of which the same share is then gone through. Their views are two draws of RandAugment
on the whole picture: augment=true with views=randaugment, as the method of that name has it.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.adapt.adapter import Adapter, Names, check_class_vectors
from polyprompt.adapt.descriptions import described, sentences_of
from polyprompt.adapt.terms import Result, Term
from polyprompt.adapt.view import FrozenView
from polyprompt.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How much the term counts, what it measures distance by, and the sentences it compares with."""

    weight: float = 8.0
    """Of both parts (lambda)."""
    distance: Literal["cosine", "mse"] = "cosine"
    """1 - cosine, or the mean squared difference of unit vectors over all their numbers."""
    descriptions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Classes and sentences about them; --descriptions reads them from a file."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ConfigError(f"coprompt: weight is {self.weight}; a weight is 0 or more")

    def build(self, adapter: Adapter) -> Term:
        """See `TermConfig`.

        Raises:
            ConfigError: the method has no class vectors that could be held near sentences.
        """
        check_class_vectors("coprompt", adapter)
        return Consistency(self)


class Consistency(Term):
    """How far class vectors are from sentences, and image vectors from those of other views."""

    views = 2

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self._rows: dict[tuple[str, ...], list[list[list[int]]]] = {}

    def fit(self, labels: Int[Tensor, "n"], names: Names) -> None:
        """Checks that every class is described.

        Raises:
            ConfigError: there are no descriptions. DataError: a class has none.
        """
        if not self.config.descriptions:
            raise ConfigError("coprompt: no descriptions are given; it learns from sentences: --descriptions FILE")
        sentences_of(self.config.descriptions, names)

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """text_consistency and image_consistency, mean over all classes and over the batch."""
        sentences = self.sentences(result.frozen, self.share())  # pyright: ignore[reportCallIssue]
        teacher = sentences if result.classes.ndim == 2 else sentences[:, None]
        return {
            "text_consistency": self.config.weight * self._apart(result.classes, teacher),
            "image_consistency": self.config.weight * self._apart(result.images, result.frozen.images_again),
        }

    def _apart(self, ours: Float[Tensor, "*n D"], theirs: Float[Tensor, "*m D"]) -> Float[Tensor, ""]:
        if self.config.distance == "cosine":
            return 1 - F.cosine_similarity(ours, theirs, dim=-1, eps=1e-7).mean()
        return (F.normalize(ours, dim=-1) - F.normalize(theirs, dim=-1)).square().mean()

    @torch.compiler.disable
    def share(self) -> float:
        """Which sentence is next, from 0 to 1, at random but the same in all processes and after resuming."""
        share = torch.rand((), generator=torch.Generator().manual_seed(int(self.steps)))
        if self.training:
            self.steps += 1
        return float(share)

    @torch.compiler.disable
    def sentences(self, frozen: FrozenView, share: float) -> Float[Tensor, "c D"]:
        """The frozen vector of one sentence a class."""
        names = frozen.text.names
        if names not in self._rows:
            self._rows[names] = described(frozen.text.encoder.text, self.config.descriptions, names)
        each = self._rows[names]
        vectors = frozen.text.sentences([row for rows in each for row in rows])
        ends = torch.tensor([len(rows) for rows in each]).cumsum(0).tolist()
        return vectors[[end - len(rows) + int(share * len(rows)) for end, rows in zip(ends, each, strict=True)]]
