"""The draw equals a slow re-statement with the global generator; the halves have the published sizes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyprompt.data.fewshot import base_and_novel, few_shot, hold_out, without
from polyprompt.data.items import Labelled, Picture
from polyprompt.errors import ConfigError, DataError, ShotsError


def labelled(labels: list[int], classes: int) -> Labelled:
    pictures = tuple(Picture(f"{i}.png", bytes) for i in range(len(labels)))
    return Labelled("toy", pictures, tuple(labels), tuple(f"class {i}" for i in range(classes)))


def keys(data: Labelled) -> list[tuple[str, int]]:
    return [(picture.key, label) for picture, label in zip(data.pictures, data.labels, strict=True)]


def slow_draw(*sets: tuple[list[int], int]) -> list[list[int]]:
    """Positions drawn from each list of labels, one after the other, from Python's global generator."""
    drawn = []
    for labels, shots in sets:
        order = []
        for label in labels:
            if label not in order:
                order.append(label)
        chosen = []
        for label in order:
            members = [i for i in range(len(labels)) if labels[i] == label]
            chosen += random.sample(members, shots) if len(members) >= shots else members
        drawn.append(chosen)
    return drawn


@given(
    st.lists(st.integers(0, 4), max_size=60),
    st.lists(st.integers(0, 4), max_size=20),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_the_draw_is_the_published_one(train, validation, shots, seed):
    state = random.getstate()
    random.seed(seed)
    expected = slow_draw((train, shots), (validation, min(shots, 4)))
    random.setstate(state)

    draw = random.Random(seed)
    for labels, count, chosen in zip((train, validation), (shots, min(shots, 4)), expected, strict=True):
        data = labelled(labels, 5)
        ours = few_shot(data, count, draw, take_fewer=True)
        assert keys(ours) == [(f"{i}.png", labels[i]) for i in chosen]
        assert ours.class_names == data.class_names
        assert sorted(keys(ours) + keys(without(data, ours))) == sorted(keys(data))


def test_a_draw_fixed_by_hand():
    """Classes in order of first appearance; the figures come from CPython's random module, seed 1."""
    random.seed(1)
    first, second = random.sample([1, 3, 5, 6], 2), random.sample([0, 2, 4], 2)
    drawn = few_shot(labelled([0, 1, 0, 1, 0, 1, 1], 2).keep([1, 0, 2, 3, 4, 5, 6]), 2, random.Random(1))
    assert [picture.key for picture in drawn.pictures] == [f"{i}.png" for i in first + second]


def test_a_picture_that_cannot_be_read_leaves_the_draw_of_the_others():
    """Another of its class takes its place, if one is left; a second reading finds the gaps of the first."""
    data = labelled([0, 1] * 6, 2)
    whole = keys(few_shot(data, 3, random.Random(1)))
    (bad, _), spare = whole[1], [key for key in keys(data) if key not in whole]
    at = [picture.key for picture in data.pictures].index(bad)
    left = data.without({at}, [f"{bad}: unreadable"])
    stand_in = next(key for key in spare if key[1] == whole[1][1])
    assert keys(few_shot(left, 3, random.Random(1))) == [whole[0], stand_in, *whole[2:]]
    assert (left.skipped, left.gaps) == ((f"{bad}: unreadable",), ((at, data.labels[at]),))
    assert left.fingerprint() != data.keep([i for i in range(12) if i != at]).fingerprint()
    rest = left.without([i for i, label in enumerate(left.labels) if label == data.labels[at]][1:], ["more"])
    assert [i for i, _ in rest.listed()].count(None) == 5
    with pytest.raises(ShotsError, match="has 1 pictures, 3 shots"):
        few_shot(rest, 3, random.Random(1))
    fewer = keys(few_shot(rest, 3, random.Random(1), take_fewer=True))
    assert [key for key in fewer if key[1] != data.labels[at]] == [key for key in whole if key[1] != data.labels[at]]


def test_too_few_pictures_are_refused():
    data = labelled([0, 0, 0, 1], 3)
    with pytest.raises(
        ShotsError, match=r"toy: class 'class 1' has 1 pictures, 2 shots were asked for. Ask for 1 or fewer"
    ):
        few_shot(data, 2, random.Random(1))
    with pytest.raises(ShotsError, match=r"class 'class 2' has 0 pictures, .* asked for\. Add pictures, or take"):
        few_shot(data, 1, random.Random(1))
    with pytest.raises(ConfigError, match="shots is 0"):
        few_shot(data, 0, random.Random(1))


@pytest.mark.parametrize(
    ("per_class", "base", "novel"),
    [
        ([50] * 1000, 25000, 25000),  # ImageNet
        ([300] * 101, 15300, 15000),  # Food101
        ([50] * 397, 9950, 9900),  # SUN397
        ([36] * 47, 864, 828),  # DTD
        ([900, 900, 900, 750, 750, 600, 750, 900, 750, 900], 4200, 3900),  # EuroSAT
    ],
    ids=["ImageNet", "Food101", "SUN397", "DTD", "EuroSAT"],
)
def test_halves_have_the_published_test_sizes(per_class, base, novel):
    data = labelled([label for label, count in enumerate(per_class) for _ in range(count)], len(per_class))
    first, second = base_and_novel(data)
    assert (len(first.pictures), len(second.pictures)) == (base, novel)


def test_halves_are_relabelled_and_share_nothing():
    data = labelled([4, 0, 3, 2, 1, 2], 5)
    first, second = base_and_novel(data)
    assert keys(first) == [("1.png", 0), ("3.png", 2), ("4.png", 1), ("5.png", 2)]
    assert keys(second) == [("0.png", 1), ("2.png", 0)]
    assert first.class_names + second.class_names == data.class_names
    assert (first.name, second.name) == ("toy:base", "toy:novel")
    with pytest.raises(DataError, match="cannot be halved"):
        base_and_novel(labelled([0], 1))


@given(st.lists(st.integers(2, 30), min_size=2, max_size=5), st.floats(0.01, 0.99))
def test_a_share_of_each_class_is_held_out_the_same_every_time(counts, share):
    data = labelled([label for label, count in enumerate(counts) for _ in range(count)], len(counts))
    rest, held = hold_out(data, share)
    assert sorted(keys(rest) + keys(held)) == sorted(keys(data))
    for label, count in enumerate(counts):
        assert held.labels.count(label) == min(max(round(share * count), 1), count - 1)
    assert keys(hold_out(data, share)[1]) == keys(held)


def test_what_cannot_be_held_out():
    with pytest.raises(ConfigError, match=r"held_out is 1\.5"):
        hold_out(labelled([0, 0, 1, 1], 2), 1.5)
    with pytest.raises(DataError, match="class 'class 1' has 1 picture; to hold out some takes two"):
        hold_out(labelled([0, 0, 1], 2), 0.5)
