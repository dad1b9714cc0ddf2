"""The two anchor rows of every table, against scikit-learn's own classifiers."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from toy_encoders import toy_encoder

from polyprompt.adapt.engine import build
from polyprompt.errors import DataError
from polyprompt.methods import linear_probe, nearest_mean

CLASSES, DIM = 3, 32


def clouds(shots: int, seed: int = 0, spread: float = 1.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors around a centre for each class."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(9))
    labels = torch.arange(CLASSES).repeat_interleave(shots)
    return centres[labels] + spread * torch.randn(len(labels), DIM, generator=draw), labels


def made(module, classes: int = CLASSES):
    return build(module.Config(), toy_encoder("clip"), [f"kind {i}" for i in range(classes)]).adapter


def units(vectors: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors, dim=-1).double().numpy()


def test_nearest_mean_is_the_nearest_of_unit_means():
    vectors, labels = clouds(8)
    others, _ = clouds(50, seed=1)
    adapter = made(nearest_mean)
    adapter.fit(vectors[None], labels)
    found = adapter.scores(others, torch.zeros(len(adapter.names), DIM), torch.tensor(10.0))["logits"].argmax(dim=1)
    means = [units(vectors)[labels.numpy() == label].mean(axis=0) for label in range(CLASSES)]
    centroids = KNeighborsClassifier(1).fit(np.stack([mean / np.linalg.norm(mean) for mean in means]), range(CLASSES))
    assert found.tolist() == centroids.predict(units(others)).tolist()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("shots", [1, 2, 8])
def test_linear_probe_is_logistic_regression(classes, shots):
    vectors, labels = clouds(shots)
    kept = labels < classes
    vectors, labels = vectors[kept], labels[kept]
    others, _ = clouds(50, seed=1)
    adapter = made(linear_probe, classes)
    adapter.fit(vectors[None], labels)
    strength = linear_probe.chosen_strength(units(vectors), labels.numpy())
    theirs = LogisticRegression(C=strength, max_iter=1000).fit(units(vectors), labels.numpy())
    ours = adapter.scores(others, torch.zeros(len(adapter.names), DIM), torch.tensor(1.0))["logits"].softmax(dim=1)
    np.testing.assert_allclose(ours.numpy(), theirs.predict_proba(units(others)), atol=1e-4)


def test_strength_is_chosen_on_a_held_out_quarter():
    """The smallest of the best; with one picture a class nothing can be held out."""
    vectors, labels = clouds(20, spread=4.0)
    rows, of_rows = units(vectors), labels.numpy()
    train, held = next(StratifiedShuffleSplit(1, test_size=15, random_state=0).split(rows, of_rows))
    fits = [LogisticRegression(C=c, max_iter=1000).fit(rows[train], of_rows[train]) for c in linear_probe.STRENGTHS]
    right = [fit.score(rows[held], of_rows[held]) for fit in fits]
    assert len(set(right)) > 1
    assert linear_probe.chosen_strength(rows, of_rows) == linear_probe.STRENGTHS[right.index(max(right))]
    lone, labels = clouds(1)
    assert linear_probe.chosen_strength(units(lone), labels.numpy()) == linear_probe.UNCHOSEN


@pytest.mark.parametrize("module", [nearest_mean, linear_probe])
def test_a_class_without_pictures(module):
    vectors, labels = clouds(4)
    with pytest.raises(DataError, match="class 'kind 2' has no training picture"):
        made(module).fit(vectors[None, labels < 2], labels[labels < 2])


@pytest.mark.parametrize(("module", "numbers"), [(nearest_mean, CLASSES * DIM), (linear_probe, CLASSES * (DIM + 1))])
def test_what_is_fitted_counts_as_learned(module, numbers):
    assert sum(made(module).numbers().values()) == numbers
