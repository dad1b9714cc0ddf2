"""Focal loss, in place of a method's cross-entropy: what is told apart well already counts less (Lin et al. 2017)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.adapt.adapter import Adapter
from polyprompt.adapt.class_weights import ClassWeights, Weights, check_weights
from polyprompt.adapt.terms import Result, Term
from polyprompt.errors import ConfigError
from polyprompt.nn.losses import focal


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the focal loss."""

    gamma: float = 2.0
    """How fast the loss of what is told apart well falls; 0 is cross-entropy."""
    weights: Weights = "even"
    """alpha in the paper: balanced, even, or weights by class name, 1 where none is told."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < math.inf:
            raise ConfigError(f"focal: gamma is {self.gamma}; it is 0 or more")
        check_weights("focal", self.weights)

    def build(self, adapter: Adapter) -> Term:
        """See `TermConfig`."""
        return Focal(self)


class Focal(Term):
    """The focal loss of each picture, weighted by its class; it takes the place of a method's cross-entropy."""

    instead = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gamma, self.weights = config.gamma, ClassWeights(config.weights)

    def fit(self, labels: Int[Tensor, "n"], names: Sequence[str]) -> None:
        """Counts the training pictures of each class, for balanced weights.

        Raises:
            UnknownNameError: a weight is given for a class that is not there.
        """
        self.weights.fit(labels, names)

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """focal: -w (1 - p)^gamma log p, mean over the batch, where p is the probability of a picture's class."""
        logits = result.scores["logits"]
        weights = self.weights.of(result.frozen.text.names, logits)
        return {"focal": focal(logits, result.labels, weights, self.gamma)}
