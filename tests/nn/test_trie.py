"""Packed texts: as few nodes as there are beginnings, and attention equal to a loop over texts and tokens."""

import math
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyprompt.nn.trie import attend, pack

ROWS = st.lists(st.lists(st.integers(-3, 4), min_size=1, max_size=6), min_size=1, max_size=6)
RUNS = st.integers(1, 9)


def ends_of(rows):
    return [len(row) - 1 for row in rows]


def paths_of(trie, rows, *, share):
    """The nodes of each text, found by what they say: an independent way through the tree."""
    ids, positions = trie.ids.tolist(), trie.positions.tolist()
    beginnings, path = {}, []
    for node, place in enumerate(positions):
        path = [*path[:place], node]
        beginnings.setdefault(tuple(ids[i] for i in path), []).append(list(path))
    return [beginnings[tuple(row)][0] if share else beginnings[tuple(row)].pop(0) for row in rows]


@settings(deadline=None, max_examples=60)
@given(ROWS, st.booleans(), st.data())
def test_nodes_are_the_distinct_beginnings(rows, share, data):
    ends = [data.draw(st.integers(0, len(row) - 1)) for row in rows]
    trie, _ = pack(rows, ends, share=share)
    beginnings = [tuple(row[: i + 1]) for row in rows for i in range(len(row))]
    assert len(trie.ids) == (len(set(beginnings)) if share else len(beginnings))
    for row, path in zip(rows, paths_of(trie, rows, share=share), strict=True):
        assert trie.ids[path].tolist() == row
        assert trie.positions[path].tolist() == list(range(len(row)))
    if share:
        expected = [path[end] for path, end in zip(paths_of(trie, rows, share=True), ends, strict=True)]
        assert trie.readouts.tolist() == expected


@settings(deadline=None, max_examples=40)
@given(ROWS, st.booleans())
def test_slots_without_places_leave_the_others_theirs(rows, share):
    trie, paths = pack(rows, ends_of(rows), share=share, placed=False)
    for row, path in zip(rows, paths, strict=True):
        assert trie.ids[path].tolist() == row
        assert trie.positions[path].tolist() == [sum(token >= 0 for token in row[:i]) for i in range(len(row))]


@settings(deadline=None, max_examples=20)
@given(ROWS, st.integers(1, 3), RUNS)
def test_attention_for_several_pictures_is_that_of_each(rows, pictures, run):
    trie, _ = pack(rows, ends_of(rows), run=run)
    queries, both = (torch.randn(len(trie.ids), pictures, width, dtype=torch.float64) for width in (4, 8))
    found = attend(queries, both, trie.every, 2)
    for number in range(pictures):
        torch.testing.assert_close(found[:, number], attend(queries[:, number], both[:, number], trie.every, 2))


def slow(queries, keys, values, node, heads, sees):
    """One node, head by head."""
    out = []
    for q, k, v in zip(*(x.chunk(heads, dim=-1) for x in (queries, keys, values)), strict=True):
        scores = [float(q[node] @ k[other]) / math.sqrt(q.shape[-1]) for other in sees]
        weights = [math.exp(score - max(scores)) for score in scores]
        out.append(sum(w / sum(weights) * v[other] for w, other in zip(weights, sees, strict=True)))
    return torch.cat(out)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.booleans(), st.sampled_from([1, 2]), RUNS)
def test_attention_equals_the_slow_loop(rows, hide, heads, run):
    trie, _ = pack(rows, ends_of(rows), run=run)
    draw = torch.Generator().manual_seed(len(trie.ids))
    queries, keys, values = torch.randn(3, len(trie.ids), 4, generator=draw, dtype=torch.float64)
    every = trie.every.without(trie.ids < 0) if hide else trie.every
    fast = attend(queries, torch.cat([keys, values], dim=1), every, heads)
    for row, path in zip(rows, paths_of(trie, rows, share=True), strict=True):
        for place, node in enumerate(path):
            sees = [path[i] for i in range(place + 1) if not hide or row[i] >= 0 or i == place]
            torch.testing.assert_close(fast[node], slow(queries, keys, values, node, heads, sees))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.integers(-3, 4), min_size=3, max_size=3), min_size=1, max_size=6), RUNS)
def test_attention_without_a_causal_mask_goes_over_the_whole_text(rows, run):
    trie, _ = pack(rows, ends_of(rows), share=False, causal=False, run=run)
    queries, keys, values = torch.randn(3, len(trie.ids), 4, dtype=torch.float64)
    fast = attend(queries, torch.cat([keys, values], dim=1), trie.every, 2)
    for path in paths_of(trie, rows, share=False):
        for node in path:
            torch.testing.assert_close(fast[node], slow(queries, keys, values, node, 2, path))


@settings(deadline=None, max_examples=40)
@given(ROWS, st.booleans(), RUNS)
def test_readouts_equal_attention_of_all(rows, share, run):
    trie, _ = pack(rows, ends_of(rows), share=share, run=run)
    queries, keys, values = torch.randn(3, len(trie.ids), 6, dtype=torch.float64)
    both = torch.cat([keys, values], dim=1)
    every = attend(queries, both, trie.every, 3)
    torch.testing.assert_close(attend(queries[trie.readouts], both, trie.last, 3), every[trie.readouts])


@settings(deadline=None, max_examples=20)
@given(ROWS, RUNS)
def test_so_many_nodes_are_computed_together(rows, run):
    trie, _ = pack(rows, ends_of(rows), run=run)
    groups = [set(group) for group in trie.every.queries.tolist()]
    nodes = range(len(trie.ids))
    assert groups == [set(nodes[start : start + run]) for start in nodes[::run]]
    assert sorted(text for group in trie.last.queries.tolist() for text in {*group}) == list(range(len(rows)))


def test_all_of_it_goes_to_a_device():
    trie, _ = pack([[1, 2], [1, 3]], [1, 1])
    there = trie.to(torch.device("meta"))
    for here, moved in ((trie, there), (trie.every, there.every), (trie.last, there.last)):
        assert type(moved) is type(here)
        for field in fields(here):
            one, other = getattr(here, field.name), getattr(moved, field.name)
            if isinstance(one, torch.Tensor):
                assert (other.device.type, other.shape, other.dtype) == ("meta", one.shape, one.dtype)


@pytest.mark.parametrize("run", [1, 5, 64])
def test_gradients_are_those_of_one_masked_attention(run):
    """Rows repeated to fill a group, and keys nobody sees, must pass nothing on."""
    rows = [[9, 1, 2, 3], [9, 1, 2, 4, 5, 6], [9, 1, 7], [9, 1, 2, 4, 8]]
    trie, _ = pack(rows, ends_of(rows), run=run)
    count = len(trie.ids)
    sees = torch.zeros(count, count, dtype=torch.bool)
    for path in paths_of(trie, rows, share=True):
        for place, node in enumerate(path):
            sees[node, path[: place + 1]] = True
    queries = torch.randn(count, 6, dtype=torch.float64, requires_grad=True)
    both = torch.randn(count, 12, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(count, 6, dtype=torch.float64)
    found = torch.autograd.grad((attend(queries, both, trie.every, 1) * weights).sum(), (queries, both))
    keys, values = both.chunk(2, dim=1)
    scores = (queries @ keys.T / math.sqrt(6)).masked_fill(~sees, -math.inf)
    true = torch.autograd.grad((scores.softmax(dim=-1) @ values * weights).sum(), (queries, both))
    torch.testing.assert_close(found, true)
