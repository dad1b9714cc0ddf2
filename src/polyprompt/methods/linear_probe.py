"""Linear probe: scikit-learn's logistic regression on the frozen vectors of the training pictures.

Radford et al. 2021 (arXiv:2103.00020, section 3.2 and appendix A) compare with it: L-BFGS, the strength of the L2
penalty chosen on held-out pictures. Here vectors are of unit length, a quarter of each class's training pictures is
held out to choose C in {0.1, 1, ..., 100,000}, the smallest of equally good ones, and the classifier is then fitted to
all of them. With one picture in a class nothing can be held out, and C is 1,000.

Of few pictures the smallest C is often as right as any, and then holds all probabilities near 1/c: read the order of
the classes, not how sure it is.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from polyprompt.adapt.adapter import Closed, Names
from polyprompt.adapt.published import Untrained
from polyprompt.errors import ConfigError, install
from polyprompt.towers.base import DualEncoder

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""C, the inverse of the penalty's weight."""
UNCHOSEN = 1e3
"""C where nothing can be held out."""

SMALL = 1e9
"""Up to so many products an iteration one thread is faster, for two pools of them wait for each other: ten times for
ten classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """There is nothing to set."""

    def build(self, encoder: DualEncoder, names: Names, draw: torch.Generator) -> "LinearProbe":
        """A map that says nothing yet."""
        return LinearProbe(names, encoder.dim)


class LinearProbe(Closed):
    """Weights [c D] and biases [c]; zeros until it has looked at the training pictures."""

    of_classes = ("weights", "biases")
    nothing = "linear_probe: nothing was fitted to"

    def __init__(self, names: Names, dim: int) -> None:
        super().__init__(names)
        self.weights: Tensor
        self.biases: Tensor
        self.register_buffer("weights", torch.zeros(len(names), dim))
        self.register_buffer("biases", torch.zeros(len(names)))

    def fit(self, views: Float[Tensor, "g n D"], labels: Int[Tensor, "n"]) -> None:
        """Fits the map; each view counts as a picture."""
        self.check_seen(labels)
        rows = F.normalize(views, dim=-1).flatten(0, 1).double().cpu().numpy()
        of_rows = labels.repeat(len(views)).cpu().numpy()
        weights, biases = fitted(rows, of_rows, chosen_strength(rows, of_rows))
        # In rows, as a saved one opens: scikit-learn's lie in columns, of which products round otherwise.
        self.weights, self.biases = weights.to(self.weights).contiguous(), biases.to(self.biases)

    def scores(
        self, images: Float[Tensor, "b D"], classes: Float[Tensor, "c D"], scale: Float[Tensor, ""]
    ) -> dict[str, Float[Tensor, "b c"]]:
        """The map of unit vectors."""
        return {"logits": F.linear(F.normalize(images, dim=-1), self.weights, self.biases)}


def chosen_strength(rows: np.ndarray, labels: np.ndarray) -> float:
    """The C that classifies a held-out quarter of each class best."""
    classes = len(set(labels.tolist()))
    if min(np.bincount(labels)) < 2 or len(labels) < 2 * classes:
        return UNCHOSEN
    from sklearn.model_selection import StratifiedShuffleSplit

    share = max(classes, len(labels) // 4)
    train, held = next(StratifiedShuffleSplit(1, test_size=share, random_state=0).split(rows, labels))

    def right(strength: float) -> float:
        weights, biases = fitted(rows[train], labels[train], strength)
        logits = F.linear(torch.from_numpy(rows[held]), weights, biases)
        return (logits.argmax(dim=1).numpy() == labels[held]).mean()

    return max(STRENGTHS, key=right)


def fitted(rows: np.ndarray, labels: np.ndarray, strength: float) -> tuple[Float[Tensor, "c D"], Float[Tensor, "c"]]:
    """Logistic regression as one linear map; of two classes the first scores the negative of the second."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        raise ConfigError(f"linear_probe needs the package scikit-learn; {install('sklearn')}") from None

    few = rows.size * len(set(labels.tolist())) < SMALL
    with warnings.catch_warnings(), threadpool_limits(1 if few else None):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the largest C need not end; it is then seldom chosen
        model = LogisticRegression(C=strength, max_iter=1000).fit(rows, labels)
    weights, biases = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(model.classes_) == 2:
        weights, biases = torch.cat([-weights, weights]) / 2, torch.cat([-biases, biases]) / 2
    return weights, biases


PUBLISHED = Untrained()
