"""What is drawn to be trained on, and what is left to be scored."""

import json
import random
import shutil

import pytest
from toy_adapt import COLOURS, EACH, quick

from polyprompt.data.read import read_labelled
from polyprompt.errors import ConfigError, DataError
from polyprompt.runs.draw import draw, read_sets


@pytest.mark.parametrize("seed", [1, 2])
def test_the_draw_is_the_published_one(photos, seed):
    """Python's own generator, seeded once, class by class."""
    found, _ = draw(quick(photos, seed=seed))
    data = read_labelled(str(photos))
    expected = []
    random.seed(seed)  # behind all that is checked at run time: beartype draws from the same generator
    for label in range(4):
        members = [p.key for p, own in zip(data.pictures, data.labels, strict=True) if own == label]
        expected += random.sample(members, 3)
    assert [picture.key for picture in found.pictures] == expected


def test_splits_held_out_shares_and_other_test_pictures(photos, tmp_path):
    drawn, held = draw(quick(photos))
    assert len(held.pictures) == 4 * EACH - 12
    drawn, held = draw(quick(photos, held_out=0.25))
    assert len(held.pictures) == 4 * 2
    assert not {p.key for p in held.pictures} & {p.key for p in drawn.pictures}
    assert [p.key for p in held.pictures] == [p.key for p in draw(quick(photos, held_out=0.25, seed=2))[1].pictures]
    drawn, held = draw(quick(photos, test=str(photos)))
    assert len(held.pictures) == 4 * EACH
    drawn, held = draw(quick(photos, shots=None, held_out=0.5))
    assert len(drawn.pictures) == len(held.pictures) == 2 * EACH
    entries = [[f"{name}/{i}.png", label, name] for label, name in enumerate(COLOURS) for i in range(EACH)]
    split = photos.parent / f"{photos.name}.json"
    split.write_text(json.dumps({"train": entries[::2], "val": [], "test": entries[1::2]}))
    (photos.parent / "images").symlink_to(photos)
    drawn, held = draw(quick(split))
    assert drawn.class_names == tuple(COLOURS)
    assert (len(drawn.pictures), len(held.pictures)) == (12, 2 * EACH)


def test_what_cannot_be_drawn_or_scored(photos, tmp_path):
    with pytest.raises(DataError, match=r"class 'blue' has 8 pictures, 9 shots were asked for\. Ask for 8 or fewer"):
        draw(quick(photos, shots=9))
    with pytest.raises(ConfigError, match="nothing is left to score, all 32 pictures are trained on"):
        draw(quick(photos, shots=8))
    with pytest.raises(ConfigError, match="nothing is left to score"):
        draw(quick(photos, shots=9, take_fewer=True))
    shutil.copytree(photos / "red", tmp_path / "one" / "red")
    with pytest.raises(DataError, match=r"1 class \(red\); telling classes apart needs at least two"):
        draw(quick(tmp_path / "one"))
    shutil.copytree(photos / "red", tmp_path / "one" / "Red")
    with pytest.raises(DataError, match="the classes 'Red' and 'red' have one name"):
        draw(quick(tmp_path / "one"))
    shutil.copytree(photos / "red", tmp_path / "two" / "violet")
    shutil.copytree(photos / "red", tmp_path / "two" / "red")
    with pytest.raises(DataError, match="class 'violet' is not among the 4 expected"):
        draw(quick(photos, test=str(tmp_path / "two")))


def test_split_folders_without_a_test_ask_which_one_is_scored(photos, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(photos, tmp_path / "sets" / split)
    with pytest.raises(ConfigError, match=r"Known: train, val. Say which one is scored: --set test_split=NAME"):
        draw(quick(tmp_path / "sets"))
    drawn, held = draw(quick(tmp_path / "sets", test_split="val"))
    assert drawn.class_names == held.class_names == tuple(sorted(COLOURS))
    assert {picture.key.split("/")[0] for picture in held.pictures} == {"val"}


@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_split_without_pictures_is_told_by_its_name(photos, tmp_path, empty):
    shutil.copytree(photos, tmp_path / "eurosat/2750")
    entries = [[f"{name}/{i}.png", label, name] for label, name in enumerate(COLOURS) for i in range(EACH)]
    full = {"train": entries[::2], "val": [], "test": entries[1::2]}
    for splits in (full | {empty: []}, {name: listed for name, listed in full.items() if name != empty}):
        (tmp_path / "eurosat/split_zhou_EuroSAT.json").write_text(json.dumps(splits))
        with pytest.raises(DataError, match=rf"^eurosat:{empty}: no pictures in it"):
            draw(quick(f"eurosat@{tmp_path}"))


def test_halves_of_one_class_are_told(photos, tmp_path):
    for name in list(COLOURS)[:3]:
        shutil.copytree(photos / name, tmp_path / name)
    with pytest.raises(DataError, match="of its 3 classes 1 is novel; telling classes apart needs two in each half"):
        read_sets(quick(tmp_path, protocol="base-to-novel"))
    shutil.copytree(photos / list(COLOURS)[3], tmp_path / list(COLOURS)[3])
    drawn, tests = read_sets(quick(tmp_path, protocol="base-to-novel"))
    assert drawn.class_names == tests["base"].class_names
    assert len(tests["novel"].class_names) == 2
