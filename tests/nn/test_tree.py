"""A tree is nothing but its branches: shared beginnings, and the same ancestors, places and masks as each alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from polyprompt.nn.tree import CAPTION, Branch, grow, sequences, spanning, without_words

ids = st.integers(1, 4)
branches = st.lists(
    st.lists(ids, min_size=1, max_size=6).flatmap(
        lambda tokens: st.builds(Branch, st.just(tuple(tokens)), st.none() | st.integers(0, len(tokens) - 1))
    ),
    min_size=1,
    max_size=5,
)
captions = st.lists(st.lists(ids, min_size=1, max_size=5), min_size=1, max_size=3)


@given(branches)
def test_each_readout_ends_its_own_branch(prompts):
    tree = grow(prompts)
    assert [tree.path(leaf) for leaf in tree.readouts] == [branch.ids for branch in prompts]
    assert all(parent < node for node, parent in enumerate(tree.parents))
    assert len(tree.adaptive) == len(set(tree.adaptive)) == sum(branch.adaptive is not None for branch in prompts)


@given(branches)
def test_no_two_plain_nodes_are_alike(prompts):
    tree = grow([Branch(branch.ids) for branch in prompts])
    prefixes = {branch.ids[: i + 1] for branch in prompts for i in range(len(branch.ids))}
    assert len(tree) == len(prefixes)


@given(branches, branches)
def test_the_positive_tree_is_the_tree_grown_without_negations(prompts, negations):
    assert grow(prompts, negations[: len(prompts)]).positive().readouts
    whole, alone = grow(prompts, negations[: len(prompts)]).positive(), grow(prompts)
    assert [whole.path(leaf) for leaf in whole.readouts] == [alone.path(leaf) for leaf in alone.readouts]
    assert len(whole) == len(alone)


@given(captions, branches)
def test_the_mask_says_ancestors_and_positions_count_them(texts, prompts):
    tree = grow(prompts)
    batch = sequences(texts, tree)
    for row, caption in enumerate(texts):
        before: dict[int, set[int]] = {}
        for i in range(len(caption)):
            before[i] = set(range(i + 1))
        for i in range(len(caption), batch.width):
            before[i] = {i}
        for node, parent in enumerate(tree.parents):
            above = set(range(len(caption))) if parent < 0 else before[batch.width + parent]
            before[batch.width + node] = above | {batch.width + node}
        for i, seen in before.items():
            assert set(batch.mask[row, i].nonzero()[:, 0].tolist()) == seen
            if not len(caption) <= i < batch.width:
                assert batch.positions[row, i] == len(seen) - 1
        assert batch.ids[row].tolist() == caption + [0] * (batch.width - len(caption)) + list(tree.ids)


def test_prompts_share_words_but_never_adaptive_tokens():
    tree = grow([Branch((1, 2, 3), 1), Branch((1, 2, 3), 1)], [Branch((1, 2, 4), 1), Branch((1, 2, 4), 1)])
    assert tree.ids == (1, 2, 3, 2, 3, 4, 4)
    assert tree.adaptive == (1, 3)
    assert torch.equal(tree.sees()[6], torch.tensor([1, 0, 0, 1, 0, 0, 1], dtype=torch.bool))


@given(branches)
def test_a_tree_that_spans_paths_has_a_node_for_each_beginning(prompts):
    tree = grow(prompts)
    assert tree.paths == tuple(tree.path(node) for node in range(len(tree)))
    span = spanning(tree.paths)
    assert span.paths == tuple(dict.fromkeys(tree.paths))
    for node, parent in enumerate(span.parents):
        assert span.paths[node][:-1] == (() if parent == CAPTION else span.paths[parent])
    assert spanning([(3, 1), (3,), (2, 1)]).paths == ((3,), (3, 1), (2,), (2, 1))


@given(captions, branches, st.sampled_from([0.0, 0.4, 1.0]), st.integers(0, 99))
def test_a_dropped_word_is_seen_by_itself_alone(texts, prompts, share, seed):
    batch = sequences(texts, grow(prompts))
    torch.manual_seed(seed)
    found = without_words(batch, share)
    torch.manual_seed(seed)
    drawn = torch.rand(len(texts), batch.width) < share
    assert torch.equal(found.ids, batch.ids)
    assert torch.equal(found.positions, batch.positions)
    for row, caption in enumerate(texts):
        dropped = {i for i in range(len(caption) - 1) if drawn[row, i]}
        for i in range(found.mask.shape[1]):
            before = set(batch.mask[row, i].nonzero()[:, 0].tolist())
            assert set(found.mask[row, i].nonzero()[:, 0].tolist()) == before - dropped | {i}
        at_the_end = found.seen_at_the_end()[row].nonzero()[:, 0].tolist()
        assert at_the_end == [i for i in range(len(caption)) if i not in dropped]


def test_a_batch_goes_to_a_device():
    batch = sequences([[1, 2], [3]], grow([Branch((1, 2), 1)]))
    there = batch.to(torch.device("meta"))
    assert {there.ids.device.type, there.positions.device.type, there.mask.device.type} == {"meta"}
    assert (there.lengths.device.type, there.width) == ("meta", batch.width)
