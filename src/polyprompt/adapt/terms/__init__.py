"""Losses: a term makes named scalars of what a forward pass gave; any term goes with any method.

A file here with a class `Config`, whose `build` makes a `Term`, can be added to any method by its name (`terms` of
`adapt`'s settings). `CrossEntropy` is what a method has unless it says otherwise.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyprompt.errors import ConfigError, UnknownNameError
from polyprompt.nn.losses import weighted_cross_entropy
from polyprompt.towers.base import Out

if TYPE_CHECKING:
    from polyprompt.adapt.adapter import Adapter
    from polyprompt.adapt.view import FrozenView


@dataclass(frozen=True, slots=True)
class Result:
    """All that a forward pass gave."""

    images: Float[Tensor, "*q b D"]
    """The method's image vectors, not normalised."""
    classes: Float[Tensor, "c *b D"]
    """Its class vectors, not normalised."""
    scores: Mapping[str, Float[Tensor, "b c"]]
    scale: Float[Tensor, ""]
    """The factor on cosines."""
    labels: Int[Tensor, "b"]
    frozen: "FrozenView"
    """What the unchanged encoder makes of the same pictures and of any sentences."""
    image_out: Out
    text_out: Out
    """What the towers gave, before the method did anything with it."""
    weights: Float[Tensor, "b"] | None = None
    """How much each picture counts in cross-entropy; None: all alike."""


class Term(nn.Module, ABC):
    """Named scalars of a result, weighted; they are added up. Buffers are its memory between epochs."""

    @abstractmethod
    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """The scalars by name, each with its weight in it already."""

    instead: bool = False
    """Whether it takes the place of the method's cross-entropy, where it is added to a method."""
    views: int = 1
    """Random views of each picture that it compares, where pictures are augmented: 2 for `FrozenView.images_again`."""

    def fit(self, labels: Int[Tensor, "n"], names: Sequence[str]) -> None:
        """Called once before training, with the labels of all training pictures and the classes they count."""

    def epoch_end(self, adapter: "Adapter", epoch: int, epochs: int) -> None:
        """Called after each epoch, counted from 1; the same epoch may be told twice."""


@runtime_checkable
class TermConfig(Protocol):
    """Settings of a term: a frozen dataclass that checks itself."""

    def build(self, adapter: "Adapter") -> Term:
        """The term, for what this adapter learns."""
        ...


class CrossEntropy(Term):
    """Of the scores that predict, mean over the batch; weighted, where pictures have weights."""

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """cross_entropy, in nats, of the scores called logits."""
        logits, labels, weights = result.scores["logits"], result.labels, result.weights
        if weights is None:
            return {"cross_entropy": F.cross_entropy(logits, labels)}
        return {"cross_entropy": weighted_cross_entropy(logits, labels, weights.to(logits))}


def names() -> tuple[str, ...]:
    """The terms of this folder that can be added by name."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__"))


def config_of(name: str) -> type[TermConfig]:
    """The config class of a term.

    Raises:
        UnknownNameError: no such file here.
    """
    if name not in names():
        raise UnknownNameError("term", name, names())
    return import_module(f"{__name__}.{name}").Config


def combined(terms: Sequence[Term], added: Sequence[Term]) -> list[Term]:
    """A method's own terms and those added to it, of which one may take the place of its cross-entropy.

    Raises:
        ConfigError: the method has none, or two shall take its place.
    """
    instead = [type(term).__module__.rpartition(".")[2] for term in added if term.instead]
    if not instead:
        return [*terms, *added]
    kept = [term for term in terms if not isinstance(term, CrossEntropy)]
    if len(instead) > 1:
        raise ConfigError(f"terms: {' and '.join(instead)} each take the place of cross-entropy; choose one")
    if len(kept) == len(terms):
        raise ConfigError(
            f"terms: {instead[0]} takes the place of a method's cross-entropy, and this one's is part of a loss of its "
            "own; use another method"
        )
    return [*kept, *added]
