"""A tree is nothing but its branches: shared beginnings, and the same ancestors, places and masks as each alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from polyprompt.nn.tree import Branch, grow, sequences

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
