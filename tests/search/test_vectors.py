"""Rows of several pieces against the same ones in one array."""

import numpy as np
import pytest
import torch

from polyprompt.disk.rows import RowStore, item_key
from polyprompt.search.vectors import BATCH, Vectors, among, ranked

DIM = 8
COUNTS = (3, BATCH + 5, 1)
"""Rows of each piece."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A store of three pieces, and all of its rows; they are halves, which fp16 keeps as they are."""
    whole = torch.randint(-8, 9, (sum(COUNTS), DIM), generator=torch.Generator().manual_seed(0)) / 2
    store = RowStore(tmp_path_factory.mktemp("rows"), "fp16", truth=True)
    for count, at in zip(COUNTS, np.cumsum((0, *COUNTS)), strict=False):
        store.append([str(i) for i in range(at, at + count)], list(whole[at : at + count, None]))
    return Vectors(store.pieces()), whole


def test_rows_are_taken_in_any_order_from_any_piece(rows):
    vectors, whole = rows
    assert len(vectors) == len(whole)
    for places in ([], [0], [2, 3, 4], [len(whole) - 1, 0, 3, 3, BATCH + 7]):
        assert torch.equal(vectors.take(np.array(places, np.int64)), whole[places])


def test_keys_are_found_where_they_are(rows):
    vectors, whole = rows
    for place in (0, 2, 3, BATCH + 7, len(whole) - 1):
        assert vectors.key(place) == item_key(str(place))
        assert vectors.find(item_key(str(place))) == place
    assert vectors.find(item_key("nobody")) is None
    assert vectors.places() == {item_key(str(place)): place for place in range(len(whole))}


@pytest.mark.parametrize("kept", [None, [], [1], [0, 2, 3, 500, BATCH + 3, BATCH + 8]])
def test_scores_and_the_best_are_a_plain_sorts(rows, kept):
    """Of equal ones, of which there are many among halves, the first."""
    vectors, whole = rows
    queries = torch.randint(-2, 3, (4, DIM), generator=torch.Generator().manual_seed(1)).float()
    places = list(range(len(whole))) if kept is None else kept
    given = None if kept is None else np.array(kept, np.int64)
    torch.testing.assert_close(vectors.scores(queries, given), queries @ whole[places].T)
    for query in queries:
        scores = {place: float(query @ whole[place]) for place in places}
        expected = sorted(places, key=lambda place: (-scores[place], place))[:7]
        found, best = vectors.best(query, 7, given)
        assert found.tolist() == expected
        assert best.tolist() == [scores[place] for place in expected]


def test_none_and_more_than_there_are():
    scores = torch.tensor([1.0, 3.0, 2.0])
    assert ranked(scores, 0)[0].tolist() == []
    assert ranked(scores, 9, np.array([4, 6, 9]))[0].tolist() == [6, 9, 4]


def test_among_is_membership():
    draw = np.random.default_rng(0)
    rows, others = draw.integers(0, 30, 50), np.unique(draw.integers(0, 30, 12))
    assert among(rows, others).tolist() == [row in set(others) for row in rows]
    assert not among(rows, np.empty(0, np.int64)).any()
