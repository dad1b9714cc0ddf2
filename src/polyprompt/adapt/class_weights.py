"""A weight for each class: told, or so that rare classes count as much as frequent ones."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.data.names import spelt
from polyprompt.errors import ConfigError, UnknownNameError

Weights: TypeAlias = Literal["balanced", "even"] | dict[str, float]
"""balanced: n / (c n_k) for a class with n_k of n pictures, as scikit-learn has it; even: 1; or some classes' weights,
the others having 1."""


def check_weights(term: str, weights: Weights) -> None:
    """Refuses what can be no weight.

    Raises:
        ConfigError: below 0, infinite or not a number.
    """
    for name, weight in weights.items() if isinstance(weights, Mapping) else ():
        if not 0 <= weight < math.inf:
            raise ConfigError(f"{term}: the weight of class {name!r} is {weight}; a weight is 0 or more")


class ClassWeights:
    """Weights by class; balanced ones are even until the training pictures are known."""

    def __init__(self, weights: Weights) -> None:
        self.balanced = weights == "balanced"
        given = weights if isinstance(weights, Mapping) else {}
        self.by_name = {spelt(name): float(weight) for name, weight in given.items()}

    def fit(self, labels: Int[Tensor, "n"], names: Sequence[str]) -> None:
        """Counts the classes, or finds those that have weights.

        Raises:
            UnknownNameError: there is no such class. ConfigError: no picture would count.
        """
        known = [spelt(name) for name in names]
        if self.balanced:
            counts = Counter(known[label] for label in labels.tolist())
            self.by_name = {name: len(labels) / (len(set(known)) * count) for name, count in counts.items()}
        if unknown := [name for name in self.by_name if name not in known]:
            raise UnknownNameError("class to have a weight", unknown[0], names)
        if not any(self.by_name.get(known[label], 1.0) for label in set(labels.tolist())):
            raise ConfigError(
                "every class that has training pictures has the weight 0, so nothing would be learned; give one more"
            )

    def of(self, names: Sequence[str], like: Tensor) -> Float[Tensor, "c"]:
        """The weight of each of these classes, on the device and in the dtype of `like`; 1 where none is known."""
        return torch.tensor([self.by_name.get(spelt(name), 1.0) for name in names]).to(like)
