"""Scores of segments, and their correlation without visiting the pairs, against every pair."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyprompt.nn.segments import score_correlation, segment_scores

SIZES = st.integers(1, 4), st.integers(2, 7), st.integers(2, 6), st.integers(1, 3), st.integers(0, 10_000)


def some(k, t, i, e, seed):
    draw = torch.Generator().manual_seed(seed)
    texts, images = torch.randn(t, k, e, generator=draw) + 0.5, torch.randn(i, k, e, generator=draw)
    return texts.double(), images.double()


def moments(segments):
    """By the definition: means, and covariances of every number with every other."""
    mean = segments.mean(dim=0)
    centred = segments - mean
    return mean, torch.einsum("nke,nlf->kelf", centred, centred) / len(segments)


@given(*SIZES)
@settings(max_examples=30, deadline=None)
def test_segment_scores_equal_a_slow_loop_and_add_up_to_the_product(k, t, i, e, seed):
    texts, images = some(k, t, i, e, seed)
    found = segment_scores(texts, images)
    for text in range(t):
        for image in range(i):
            slow = [sum(float(texts[text, j, x] * images[image, j, x]) for x in range(e)) for j in range(k)]
            np.testing.assert_allclose(found[text, image].numpy(), slow)
    torch.testing.assert_close(found.sum(-1), texts.flatten(1) @ images.flatten(1).T)


@given(*SIZES)
@settings(max_examples=30, deadline=None)
def test_score_correlation_equals_numpy_over_every_pair(k, t, i, e, seed):
    texts, images = some(k, t, i, e, seed)
    scores = segment_scores(texts, images).reshape(-1, k).T
    expected = np.corrcoef(scores).reshape(k, k)
    np.testing.assert_allclose(score_correlation(moments(texts), moments(images)).numpy(), expected, atol=1e-7)


def test_a_segment_that_never_changes_correlates_with_none():
    texts, images = some(3, 6, 5, 2, 0)
    texts[:, 1], images[:, 1] = 0.3, 0.7
    found = score_correlation(moments(texts), moments(images))
    assert found[1].tolist() == found[:, 1].tolist() == [0, 0, 0]
    assert found[0, 2] != 0


def test_what_rounding_leaves_of_a_segments_movement_counts_for_nothing():
    """The smallest movement that counts is told by the size of the scores, not by that of their factors."""
    eps, mean = torch.finfo(torch.double).eps, torch.full((2, 1), 10.0, dtype=torch.double)
    gram, still = torch.ones(2, 1, 2, 1, dtype=torch.double), torch.zeros(2, 1, 2, 1, dtype=torch.double)
    gram[1, 0, 1, 0] = gram[0, 0, 1, 0] = gram[1, 0, 0, 0] = 10 * eps**1.5  # scores of 100 that move by 1e-10
    assert score_correlation((mean, gram), (mean, still)).tolist() == [[1, 0], [0, 0]]
    gram[1, 0, 1, 0] = 1e3 * eps**1.5
    assert round(float(score_correlation((mean, gram), (mean, still))[1, 1]), 9) == 1
    nothing = torch.zeros_like(mean)
    assert score_correlation((nothing, still), (nothing, still)).tolist() == [[0, 0], [0, 0]]
