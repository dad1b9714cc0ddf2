"""Cross-entropy with a weight for each class, in place of a method's own: for classes that are rare, or matter more."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.adapt.adapter import Adapter
from polyprompt.adapt.class_weights import ClassWeights, Weights, check_weights
from polyprompt.adapt.terms import Result, Term
from polyprompt.nn.losses import weighted_cross_entropy


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Settings of the class-weighted loss."""

    weights: Weights = "balanced"
    """balanced: each class counts alike, whatever its pictures; even; or weights by class name, 1 where none is."""

    def __post_init__(self) -> None:
        check_weights("class_weighted", self.weights)

    def build(self, adapter: Adapter) -> Term:
        """See `TermConfig`."""
        return ClassWeighted(self)


class ClassWeighted(Term):
    """Cross-entropy in which a picture counts by its class; it takes the place of a method's own."""

    instead = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weights = ClassWeights(config.weights)

    def fit(self, labels: Int[Tensor, "n"], names: Sequence[str]) -> None:
        """Counts the training pictures of each class, for balanced weights.

        Raises:
            UnknownNameError: a weight is given for a class that is not there.
        """
        self.weights.fit(labels, names)

    def forward(self, result: Result) -> dict[str, Float[Tensor, ""]]:
        """class_weighted: sum of w ce over sum of w, where w is the weight of a picture's class."""
        logits = result.scores["logits"]
        weights = self.weights.of(result.frozen.text.names, logits)
        return {"class_weighted": weighted_cross_entropy(logits, result.labels, weights[result.labels])}
