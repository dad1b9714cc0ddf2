from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyprompt.errors import ConfigError, DataError
from polyprompt.train.batches import Batches, share

pictures = st.lists(st.integers(0, 12), min_size=1, max_size=40)


def batches(image_of, size, seed=0) -> Batches:
    return Batches(fetch=list, image_of=image_of, size=size, seed=seed)


@given(image_of=pictures, size=st.integers(1, 20), seed=st.integers(0, 2**63), epoch=st.integers(1, 1000))
def test_an_epoch_visits_each_picture_once_but_for_the_few_that_fill_no_batch(image_of, size, seed, epoch):
    found = batches(image_of, size, seed).epoch(epoch)
    visited = [image_of[item] for batch in found for item in batch]
    known = set(image_of)
    assert len(visited) == len(set(visited))
    assert len(found) == len(batches(image_of, size))
    if len(known) < size:
        assert set(visited) == known
    else:
        assert {len(batch) for batch in found} == {size}
        assert len(known) - len(visited) == len(known) % size


@given(image_of=pictures, size=st.integers(1, 20), seed=st.integers(0, 99), epoch=st.integers(1, 99))
def test_seed_and_epoch_decide(image_of, size, seed, epoch):
    assert batches(image_of, size, seed).epoch(epoch) == batches(tuple(image_of), size, seed).epoch(epoch)


def test_epochs_and_seeds_differ():
    orders = [batches(range(50), 10, seed).epoch(epoch) for seed in (0, 1) for epoch in (1, 2)]
    assert all(left != right for n, left in enumerate(orders) for right in orders[:n])


def test_each_caption_of_a_picture_is_drawn_equally_often_and_so_is_each_place():
    image_of = [0, 1, 1, 1, 2, 2]
    orders = [batches(image_of, 3).epoch(epoch)[0] for epoch in range(1, 3001)]
    drawn = Counter(item for order in orders for item in order)
    assert drawn[0] == 3000
    assert all(abs(drawn[item] - 1000) < 130 for item in (1, 2, 3))  # five standard deviations
    assert all(abs(drawn[item] - 1500) < 140 for item in (4, 5))
    first = Counter(image_of[order[0]] for order in orders)
    assert all(abs(first[picture] - 1000) < 130 for picture in (0, 1, 2))


@given(batch=st.lists(st.integers()), processes=st.integers(1, 6))
def test_shares_are_equal_and_join_to_the_batch(batch, processes):
    whole = batch * processes
    shares = [share(whole, process, processes) for process in range(processes)]
    assert [item for part in shares for item in part] == whole
    assert {len(part) for part in shares} == {len(batch)}


def test_what_cannot_be_is_said():
    with pytest.raises(ConfigError, match="10 cannot be shared equally by 4 processes"):
        share(range(10), 0, 4)
    with pytest.raises(ConfigError, match="batch size is 0"):
        batches([0], 0)
    with pytest.raises(ConfigError, match="seed is -1"):
        batches([0], 1, seed=-1)
    with pytest.raises(DataError, match="no items"):
        batches([], 1)
