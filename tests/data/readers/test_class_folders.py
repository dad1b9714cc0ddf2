"""A folder per class; what does not fit is named in one line."""

import pytest
from miniatures import Root, labelled
from toy_data import PLACES

from polyprompt.data.read import read_labelled
from polyprompt.errors import DataError, UnknownNameError


def test_class_folders(animals):
    data = read_labelled(str(animals))
    assert labelled(data) == [(place, place[:3]) for place in PLACES]
    assert data.class_names == ("cat", "dog", "emu")
    assert data.name == animals.name
    assert data.pictures[3].open().size == (2, 2)


def test_class_folders_with_splits(animals):
    for split in ("train", "test"):
        (animals / "sets" / split).mkdir(parents=True)
    for name in ("cat", "dog"):
        (animals / name).rename(animals / "sets" / "train" / name)
    (animals / "emu").rename(animals / "sets" / "test" / "emu")
    train = read_labelled(str(animals / "sets"), "train")
    assert [key for key, _ in labelled(train)] == [f"train/{place}" for place in PLACES[:3]]
    assert train.class_names == ("cat", "dog", "emu")  # emu has no picture in this split
    assert train.name == "sets:train"
    with pytest.raises(UnknownNameError, match=r"'tset'. Did you mean 'test'"):
        read_labelled(str(animals / "sets"), "tset")
    with pytest.raises(DataError, match="sets: has the splits test, train; choose one"):
        read_labelled(str(animals / "sets"))
    with pytest.raises(DataError, match=r"emu/x/1.JPG: class 'emu' is not among the 2 expected \(cat, dog\)"):
        read_labelled(str(animals / "sets"), "test", class_names=("cat", "dog"))


def test_a_class_without_pictures_and_a_single_class_are_refused(animals):
    (animals / "fox").mkdir()
    with pytest.raises(DataError, match="fox: a class folder without pictures"):
        read_labelled(str(animals))
    with pytest.raises(DataError, match=r"cat: holds pictures, but no labels of them; give a folder per class"):
        read_labelled(str(animals / "cat"))
    with pytest.raises(DataError, match=r"emu: 1 class \(x\)"):
        read_labelled(str(animals / "emu"))
    with pytest.raises(DataError, match=r"no such file or folder, and no data set"):
        read_labelled(str(animals / "none"))
    with pytest.raises(DataError, match="no labels found in it"):
        read_labelled(str(animals / "cat" / "notes.txt"))


def test_folders_that_all_hold_the_same_folders_are_told(root, messages):
    root.pictures(*(f"{domain}/{name}/1.png" for domain in ("art", "photo") for name in ("cat", "dog")))
    assert read_labelled(str(root.path)).class_names == ("art", "photo")
    assert "art, photo are read as classes, but all hold the folders cat, dog" in messages()


def test_the_current_folder_is_named(root, monkeypatch, messages):
    root.pictures(*(f"{domain}/{name}/1.png" for domain in ("art", "photo") for name in ("cat", "dog")), "loose.png")
    monkeypatch.chdir(root.path)
    read_labelled(".")
    told = messages()
    assert "polyprompt: d: left out 1 picture beside the class folders (loose.png)" in told
    assert "polyprompt: d: art, photo are read as classes" in told


def test_links_that_lead_out_are_told(root, tmp_path, messages):
    root.pictures("cat/1.png", "dog/1.png")
    Root(tmp_path / "more").pictures("1.png", "2.png", "3.png")
    (root.path / "emu").symlink_to(tmp_path / "more")
    (root.path / "cat" / "2.png").symlink_to(tmp_path / "more" / "2.png")
    (root.path / "dog" / "2.png").symlink_to(root.path / "cat" / "1.png")
    assert len(read_labelled(str(root.path)).pictures) == 7
    assert "d: 2 links that lead out of it were followed: cat/2.png, emu." in messages()


def test_names_without_a_folder_are_told_and_found_in_any_case(root, messages):
    root.pictures("a/1.png", "b/1.png").file("Classnames.txt", "a cat\nb dog\nc bird\nd cow\n")
    assert labelled(read_labelled(str(root.path))) == [("a/1.png", "cat"), ("b/1.png", "dog")]
    assert "d: 2 classes have a line in classnames.txt, but no folder (c bird, d cow)." in messages()
    root.file("classnames.txt", "a cat\nb dog\n")
    with pytest.raises(DataError, match=r"d: holds Classnames.txt and classnames.txt; leave one of them there"):
        read_labelled(str(root.path))


def test_nothing_is_said_of_class_folders_where_a_split_file_is_read(root, messages):
    root.pictures("one/red/1.png", "one/blue/1.png", "two/red/1.png", "two/blue/1.png", "1.png")
    root.json("split_zhou_X.json", {"train": [["one/red/1.png", 0, "red"], ["two/blue/1.png", 1, "blue"]]})
    assert len(read_labelled(str(root.path), "train").pictures) == 2
    assert messages() == ""


@pytest.mark.parametrize("link", ["fox", "cat/circle.jpg", "circle", "captions.csv"])
def test_a_link_that_leads_nowhere_or_in_a_circle_is_told(animals, link, messages):
    """A class on a disk that is not there would be missed without a word."""
    (animals / link).symlink_to("nowhere" if link == "fox" else (animals / link).name)
    assert labelled(read_labelled(str(animals))) == [(place, place[:3]) for place in PLACES]
    assert f"left out 1 .txt, 1 broken link, 1 hidden (cat/notes.txt, {link}, " in messages()
