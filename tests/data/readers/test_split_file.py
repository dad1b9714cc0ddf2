"""CoOp's split files keep their order and labels; what does not fit is named in one line."""

import json
from pathlib import Path

import pytest
from miniatures import labelled, picture

from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.data.source import kinds_of
from polyprompt.errors import DataError, UnknownNameError


def split_file(animals: Path, content: object) -> str:
    (animals / "split_zhou_Toy.json").write_text(json.dumps(content))
    return str(animals / "split_zhou_Toy.json")


SPLIT = {
    "train": [["cat/1.png", 1, "cat"], ["dog/1.png", 0, "dog"]],
    "val": [],
    "test": [["emu/x/1.JPG", 2, "emu"], ["cat/2.png", 1, "cat"]],
}


@pytest.mark.parametrize("folder", ["", "images", "2750"])
def test_split_files_keep_their_order_and_labels(animals, folder):
    if folder:
        (animals / folder).mkdir()
        for name in ("cat", "dog", "emu"):
            (animals / name).rename(animals / folder / name)
    source = split_file(animals, SPLIT)
    train, test = read_labelled(source, "train"), read_labelled(source, "test")
    assert train.class_names == test.class_names == ("dog", "cat", "emu")
    assert labelled(train) == [("cat/1.png", "cat"), ("dog/1.png", "dog")]
    assert (train.labels, test.labels) == ((1, 0), (2, 1))
    assert test.pictures[0].open().size == (2, 2)
    with pytest.raises(UnknownNameError, match="Known: test, train"):  # an empty list is no split
        read_labelled(source, "val")
    assert train.name == "split_zhou_Toy:train"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "no labels found in it"),
        ({"train": 3}, "no labels found in it"),
        (
            {"train": [["cat/1.png", "cat"]]},
            r"split_zhou_Toy.json, train\[0\]: is \['cat/1.png', 'cat'\]; must be \[path",
        ),
        (
            {"train": SPLIT["train"], "test": [["cat/2.png", 0, "cat"]]},
            r"test\[0\]: '0' goes with 'cat' here, but with 'dog'",
        ),
        (
            {"train": SPLIT["train"], "test": [["cat/2.png", 5, "cat"]]},
            r"test\[0\]: 'cat' goes with '5' here, but with '1'",
        ),
        ({"train": [["cat/7.png", 1, "cat"], ["dog/1.png", 0, "dog"]]}, r"train\[0\]: no picture 'cat/7.png'"),
    ],
)
def test_a_bad_split_file_gives_one_line(animals, content, words):
    with pytest.raises(DataError, match=words) as caught:
        read_labelled(split_file(animals, content), "train")
    assert "\n" not in str(caught.value)


def test_a_split_file_needs_a_split_and_must_be_json(animals):
    with pytest.raises(DataError, match="has the splits test, train; choose one"):
        read_labelled(split_file(animals, SPLIT))
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        read_labelled(split_file(animals, SPLIT), "trian")
    (animals / "split_zhou_Toy.json").write_text("{")
    with pytest.raises(DataError, match=r"split_zhou_Toy.json"):
        read_labelled(str(animals / "split_zhou_Toy.json"), "train")


def test_the_usual_folder_of_pictures_comes_before_others_of_the_same_names(root, messages):
    root.pictures("blurred/a/1.jpg", "blurred/b/2.jpg", data=picture((30, 30, 200)))
    root.pictures("images/a/1.jpg", "images/b/2.jpg")
    root.json("split_zhou_X.json", {"train": [["a/1.jpg", 0, "a"], ["b/2.jpg", 1, "b"]]})
    data = read_labelled(str(root.path), "train")
    assert [one.read() for one in data.pictures] == [picture()] * 2
    line = "split_zhou_X.json: 2 pictures of blurred passed over (a/1.jpg and 1 more); those in images are read."
    assert line in messages()


def test_a_split_file_is_found_in_any_case_and_several_are_refused(root, messages):
    root.pictures("a/1.jpg", "b/1.jpg").json("Split_Zhou_X.JSON", {"Train": [["a/1.jpg", 1, "p"], ["b/1.jpg", 0, "q"]]})
    assert labelled(read_labelled(str(root.path), "train")) == [("a/1.jpg", "p"), ("b/1.jpg", "q")]
    root.json("split_zhou_Y.json", {"train": [["a/1.jpg", 0, "a"]]})
    with pytest.raises(
        DataError, match=r"d: holds Split_Zhou_X.JSON and split_zhou_Y.json; give one of them"
    ) as caught:
        read_labelled(str(root.path))
    assert "\n" not in str(caught.value)
    assert set(kinds_of(str(root.path))) == {"labels"}
    root.file("captions.csv", "file,caption\na/1.jpg,c\n")
    assert read_pairs(str(root.path)).captions == ("c",)  # which holds no labels


def test_a_split_that_is_given_twice_is_refused(root):
    root.pictures("a/1.jpg", "b/1.jpg")
    root.file("split_zhou_X.json", '{"train": [["a/1.jpg", 0, "a"]], "train": [["b/1.jpg", 1, "b"]]}')
    for source in (root.path, root.path / "split_zhou_X.json"):
        with pytest.raises(DataError, match=r"split_zhou_X.json: 'train' stands twice in one object"):
            read_labelled(str(source), "train")
