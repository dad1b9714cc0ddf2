"""How alike K aspects are, against slow loops and NumPy."""

import math

import numpy as np
import pytest
import torch

from polyprompt.errors import DataError
from polyprompt.evaluate.aspects import centred_cosine, redundancy

FLOAT = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=FLOAT)


@pytest.mark.parametrize(("t", "k", "d"), [(1, 2, 3), (3, 2, 5), (7, 6, 4), (1030, 3, 2)])
def test_centred_cosine_equals_the_slow_loop(t, k, d):
    readouts = draw(t, k, d) + 5
    rows = (readouts - readouts.mean(dim=0)).tolist()
    cosines = []
    for one in rows:
        for p in range(k):
            for q in range(p):
                dot = sum(x * y for x, y in zip(one[p], one[q], strict=True))
                lengths = math.hypot(*one[p]) * math.hypot(*one[q])
                cosines.append(dot / lengths if lengths else 0.0)
    assert centred_cosine(readouts) == pytest.approx(sum(cosines) / len(cosines), abs=1e-12)


@pytest.mark.parametrize(("t", "i", "k", "e"), [(2, 3, 2, 1), (5, 4, 3, 2), (13, 7, 6, 5), (1, 9, 2, 4)])
def test_redundancy_equals_numpy_on_every_pair(t, i, k, e):
    texts, images = draw(t, k, e, seed=1) + 0.5, draw(i, k, e, seed=2) - 0.3
    scores = [[float((one[s] * two[s]).sum()) for one in texts for two in images] for s in range(k)]
    correlations = np.corrcoef(scores)
    expected = np.mean([correlations[p, q] for p in range(k) for q in range(p)])
    assert redundancy(texts, images) == pytest.approx(expected, abs=1e-10)


def test_redundancy_survives_a_large_common_part():
    """Means a million times the differences, in float32: sums of squares would cancel to nothing."""
    texts, images = (draw(9, 3, 4, seed=1) + 1024).float(), (1e-3 * draw(8, 3, 4, seed=2) + 1024).float()
    scores = np.einsum("tke,ike->kti", texts.double(), images.double()).reshape(3, -1)
    expected = np.corrcoef(scores)[np.tril_indices(3, -1)].mean()
    assert redundancy(texts, images) == pytest.approx(expected, abs=1e-6)


def test_equal_opposite_and_unrelated_aspects():
    texts, images = draw(20, 1, 4, seed=1), draw(30, 1, 4, seed=2)
    assert redundancy(texts.expand(-1, 3, -1), images.expand(-1, 3, -1)) == pytest.approx(1)
    turned, _ = torch.linalg.qr(draw(4, 4, seed=3))  # other coordinates, the same scores: a cosine would not see it
    same_scores = redundancy(torch.cat([texts, texts @ turned], dim=1), torch.cat([images, images @ turned], dim=1))
    assert same_scores == pytest.approx(1)
    assert redundancy(torch.cat([texts, -2 * texts], dim=1), images.expand(-1, 2, -1)) == pytest.approx(-1)
    assert abs(redundancy(draw(400, 2, 32, seed=4), draw(300, 2, 32, seed=5))) < 0.05

    assert centred_cosine(texts.expand(-1, 4, -1) + torch.arange(4.0).view(1, 4, 1)) == pytest.approx(1)
    assert centred_cosine(torch.cat([texts, -texts], dim=1)) == pytest.approx(-1)


def test_what_does_not_move_correlates_with_nothing():
    texts, images = draw(6, 3, 4, seed=1).float(), draw(5, 3, 4, seed=2).float()
    texts[:, 0], images[:, 0] = texts[:1, 0] / 3, images[:1, 0] / 3
    with_it, without = redundancy(texts, images), redundancy(texts[:, 1:], images[:, 1:])
    assert with_it == pytest.approx(without / 3)  # one pair of three is left
    assert centred_cosine(torch.ones(4, 3, 2)) == 0


def test_one_aspect_has_no_pairs():
    assert redundancy(draw(3, 1, 4), draw(2, 1, 4)) is None
    assert centred_cosine(draw(3, 1, 4)) is None


def test_empty_sets_and_broken_numbers_are_refused():
    with pytest.raises(DataError, match="no images"):
        redundancy(draw(3, 2, 4), draw(0, 2, 4))
    with pytest.raises(DataError, match="texts hold NaN"):
        redundancy(draw(3, 2, 4) * float("nan"), draw(2, 2, 4))
    with pytest.raises(DataError, match="no readouts"):
        centred_cosine(draw(0, 2, 4))
    with pytest.raises(DataError, match="readouts hold NaN or infinity"):
        centred_cosine(draw(3, 2, 4) / 0)
