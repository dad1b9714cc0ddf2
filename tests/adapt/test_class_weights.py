"""Weights of classes against scikit-learn's; weights that cannot be."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from polyprompt.adapt.class_weights import ClassWeights
from polyprompt.errors import ConfigError, UnknownNameError


def test_balanced_weights_are_scikit_learns():
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    weights = ClassWeights("balanced")
    weights.fit(labels, ["cat", "big_dog", "fox"])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert weights.of(["cat", "Big dog", "fox"], torch.zeros(1)).tolist() == pytest.approx(expected.tolist())
    assert weights.of(["fox", "newt"], torch.zeros(1)).tolist() == [1.0, 1.0]


def test_a_class_that_is_not_there_has_no_weight():
    with pytest.raises(UnknownNameError, match=r"no class to have a weight is called 'cats'\. Did you mean 'cat'"):
        ClassWeights({"cats": 2.0}).fit(torch.tensor([0, 1]), ["cat", "dog"])


def test_somebody_has_to_count():
    weights = ClassWeights({"cat": 0.0, "dog": 0.0})
    with pytest.raises(ConfigError, match="every class that has training pictures has the weight 0") as error:
        weights.fit(torch.tensor([0, 1, 1]), ["cat", "dog", "fox"])  # there is no picture of a fox
    assert "\n" not in str(error.value)
    weights.fit(torch.tensor([0, 1, 2]), ["cat", "dog", "fox"])
