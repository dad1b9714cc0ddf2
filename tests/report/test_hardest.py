"""The hardest classes of a grid, worked out by hand."""

import pytest
from PIL import Image
from toy_grid import result

from polyprompt.report.hardest import CLASSES, MATRIX, PICTURES, hardest

NAMES = ("cat", "dog", "emu", "fox", "gnu")


@pytest.fixture
def data(tmp_path):
    """Six pictures of each class."""
    for name in NAMES:
        (tmp_path / "zoo" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (8, 8)).save(tmp_path / "zoo" / name / f"{i}.png")
    return str(tmp_path / "zoo")


def scored(method, seed, data, accuracy, classes, confused):
    one = result(method, data, seed, {"test": accuracy})
    one.figures["classification"]["test"] |= {"class_accuracy": dict(zip(NAMES, classes, strict=True))}
    one.figures["classification"]["test"] |= {"confused": confused}
    return one


def test_the_lowest_means_come_first_with_what_they_are_taken_for(data):
    """Of ten pictures a class."""
    coop = {"cat": {"dog": 2, "emu": 5}, "dog": {"cat": 1}, "emu": {"cat": 6}, "fox": {"gnu": 2}}
    maple = {"cat": {"dog": 5}, "emu": {"cat": 2, "dog": 6}, "fox": {"gnu": 2}}
    (found,) = hardest(
        [
            scored("coop", 1, data, 0.68, (0.3, 0.9, 0.4, 0.8, 1.0), coop),
            scored("maple", 2, data, 0.7, (0.5, 1.0, 0.2, 0.8, 1.0), maple),
        ]
    )
    assert [one[:3] for one in found.classes] == [
        ("emu", "30.0 %", "cat"),  # 8 times, and 6 for a dog
        ("cat", "40.0 %", "dog"),  # 7 times, and 5 for an emu
        ("fox", "80.0 %", "gnu"),
        ("dog", "95.0 %", "cat"),
    ]
    assert len(found.classes) == CLASSES
    assert {len(pictures) for *_, pictures in found.classes} == {PICTURES}
    assert (found.data, found.protocol, found.method) == ("zoo", "few-shot", "maple")
    assert "<svg" in found.matrix


def test_of_equal_runs_the_first_seed_is_drawn(data):
    confused = {name: {"dog" if name == "cat" else "cat": 5} for name in NAMES}
    both = [scored("coop", seed, data, 0.6, (0.1 * seed, 0.5, 0.5, 0.5, 0.5), confused) for seed in (3, 1)]
    (found,), (first,) = hardest(both), hardest(both[1:])
    assert found.matrix == first.matrix != hardest(both[:1])[0].matrix


def test_a_set_that_has_gone_and_one_of_many_classes_have_less_to_show():
    names = [f"class {i}" for i in range(MATRIX + 1)]
    one = result("coop", "gone/zoo", 1, {"test": 0.5})
    one.figures["classification"]["test"] |= {"class_accuracy": dict.fromkeys(names, 0.5), "confused": {}}
    (found,) = hardest([one])
    assert found.matrix == ""
    assert {pictures for *_, pictures in found.classes} == {()}


def test_a_section_is_called_by_what_is_scored():
    """Not by the domains that were trained on."""
    trained = "pacs:art_painting+cartoon+photo"
    (found,) = hardest([result("coop", trained, 1, {"test": 0.5}, protocol="leave-one-domain-out", test="pacs:sketch")])
    assert found.data == "pacs:sketch"
