"""Packed texts: as few nodes as there are beginnings, and attention equal to a loop over texts and tokens."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyprompt.nn.trie import attend, attend_readouts, pack

ROWS = st.lists(st.lists(st.integers(-3, 4), min_size=1, max_size=6), min_size=1, max_size=6)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.booleans())
def test_nodes_are_the_distinct_beginnings(rows, share):
    trie = pack(rows, [len(row) - 1 for row in rows], share=share)
    beginnings = [tuple(row[: i + 1]) for row in rows for i in range(len(row))]
    assert len(trie.ids) == (len(set(beginnings)) if share else len(beginnings))
    for row, path, end, readout in zip(rows, trie.paths, trie.ends, trie.readouts, strict=True):
        assert trie.ids[path][: len(row)].tolist() == row
        assert trie.positions[path][: len(row)].tolist() == list(range(len(row)))
        assert (path[len(row) :] == path[len(row) - 1]).all()
        assert end == len(row) - 1
        assert readout == path[end]
    assert trie.paths.flatten()[trie.seen].tolist() == list(range(len(trie.ids)))


def slow(queries, keys, values, path, place, heads, sees):
    """One token of one text, head by head."""
    out = []
    for q, k, v in zip(*(x.chunk(heads, dim=-1) for x in (queries, keys, values)), strict=True):
        scores = [float(q[path[place]] @ k[path[other]]) / math.sqrt(q.shape[-1]) for other in sees]
        weights = [math.exp(score - max(scores)) for score in scores]
        out.append(sum(w / sum(weights) * v[path[other]] for w, other in zip(weights, sees, strict=True)))
    return torch.cat(out)


@settings(deadline=None, max_examples=25)
@given(ROWS, st.booleans(), st.sampled_from([1, 2]))
def test_attention_equals_the_slow_loop(rows, hide, heads):
    trie = pack(rows, [len(row) - 1 for row in rows])
    draw = torch.Generator().manual_seed(len(trie.ids))
    queries, keys, values = torch.randn(3, len(trie.ids), 4, generator=draw, dtype=torch.float64)
    hidden = trie.ids < 0 if hide else None
    fast = attend(queries, torch.cat([keys, values], dim=1), trie, heads, hidden=hidden)
    for row, path in zip(rows, trie.paths.tolist(), strict=True):
        for place in range(len(row)):
            sees = [other for other in range(place + 1) if not hide or row[other] >= 0 or other == place]
            expected = slow(queries, keys, values, path, place, heads, sees)
            torch.testing.assert_close(fast[path[place]], expected)


@pytest.mark.parametrize("causal", [True, False])
def test_readouts_equal_attention_of_all(causal):
    rows = [[1, 2, 3], [1, 2, 4], [1, 5, 6]] if not causal else [[1, 2, 3, 4], [1, 2], [1, 5, 6], [1]]
    trie = pack(rows, [len(row) - 1 for row in rows], share=causal)
    queries, keys, values = torch.randn(3, len(trie.ids), 6, dtype=torch.float64)
    both = torch.cat([keys, values], dim=1)
    every = attend(queries, both, trie, 3, causal=causal)
    some = attend_readouts(queries[trie.readouts], both, trie, 3, causal=causal)
    torch.testing.assert_close(some, every[trie.readouts])
