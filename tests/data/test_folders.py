"""Class folders, tables and split files give the same labelled pictures; what does not fit is named in one line."""

import csv
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import labelled
from PIL import Image

from polyprompt.data.read import read_labelled, splits_of
from polyprompt.errors import DataError, UnknownNameError

PLACES = ["cat/1.png", "cat/2.png", "dog/1.png", "emu/x/1.JPG"]


@pytest.fixture
def root(tmp_path):
    for place in [*PLACES, "cat/.hidden.png", ".git/1.png"]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / place)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    return tmp_path


def test_class_folders(root):
    data = read_labelled(str(root))
    assert labelled(data) == [(place, place[:3]) for place in PLACES]
    assert data.class_names == ("cat", "dog", "emu")
    assert data.name == root.name
    assert data.pictures[3].open().size == (2, 2)


def test_class_folders_with_splits(root):
    for split in ("train", "test"):
        (root / "sets" / split).mkdir(parents=True)
    for name in ("cat", "dog"):
        (root / name).rename(root / "sets" / "train" / name)
    (root / "emu").rename(root / "sets" / "test" / "emu")
    train = read_labelled(str(root / "sets"), "train")
    assert [key for key, _ in labelled(train)] == [f"train/{place}" for place in PLACES[:3]]
    assert train.class_names == ("cat", "dog", "emu")  # emu has no picture in this split
    assert train.name == "sets:train"
    with pytest.raises(UnknownNameError, match=r"'tset'. Did you mean 'test'"):
        read_labelled(str(root / "sets"), "tset")
    with pytest.raises(DataError, match="sets: has the splits test, train; choose one"):
        read_labelled(str(root / "sets"))
    with pytest.raises(DataError, match=r"emu/x/1.JPG: class 'emu' is not among the 2 expected \(cat, dog\)"):
        read_labelled(str(root / "sets"), "test", class_names=("cat", "dog"))


def test_a_second_set_shares_the_labels_of_a_first(root):
    data = read_labelled(str(root), class_names=["emu", "dog", "ant", "cat"])
    assert data.labels == (3, 3, 1, 0)


def test_a_class_without_pictures_and_a_single_class_are_refused(root):
    (root / "fox").mkdir()
    with pytest.raises(DataError, match="fox: a class folder without pictures"):
        read_labelled(str(root))
    with pytest.raises(DataError, match=r"cat: holds pictures, but no labels of them; give a folder per class"):
        read_labelled(str(root / "cat"))
    with pytest.raises(DataError, match=r"emu: 1 class \(x\)"):
        read_labelled(str(root / "emu"))
    with pytest.raises(DataError, match=r"no such file or folder, and no data set"):
        read_labelled(str(root / "none"))
    with pytest.raises(DataError, match="no labels found in it"):
        read_labelled(str(root / "cat" / "notes.txt"))


def test_class_folders_with_one_name_are_refused(root):
    (root / "dog").rename(root / "Cat")
    with pytest.raises(DataError, match="'Cat' and 'cat' have one name"):
        read_labelled(str(root))


# Tables

Names = st.lists(
    st.text(st.characters(categories=["L", "Zs"]), min_size=1).map(str.strip).filter(bool), min_size=2, max_size=4
)


@settings(max_examples=30, deadline=None)
@given(Names.filter(lambda names: len({name.casefold() for name in names}) == len(names)), st.data())
def test_a_table_comes_back_as_it_was_written(names, data):
    labels = [*range(len(names)), *data.draw(st.lists(st.integers(0, len(names) - 1), max_size=5))]
    splits = data.draw(st.lists(st.sampled_from(["train", "test"]), min_size=len(labels), max_size=len(labels)))
    with tempfile.TemporaryDirectory() as folder:
        for i in range(len(labels)):
            (Path(folder) / f"{i}.png").touch()
        with (Path(folder) / "table.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Path", "label", "class_name", "split"])
            writer.writerows([f"{i}.png", label, names[label], splits[i]] for i, label in enumerate(labels))
        found = read_labelled(str(Path(folder) / "table.csv"), splits[0], class_names=sorted(names))
        assert labelled(found) == [
            (f"{i}.png", names[label]) for i, label in enumerate(labels) if splits[i] == splits[0]
        ]


def test_a_table_of_names_needs_no_numbers(root):
    (root / "t.tsv").write_text("file\tclass\n" + "".join(f"{place}\t{place[:3].upper()}\n" for place in PLACES))
    data = read_labelled(str(root / "t.tsv"))
    assert labelled(data) == [(place, place[:3].upper()) for place in PLACES]
    assert data.name == "t"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "path,label\ncat/1.png,dog\ndog/1.png,dog\ncat/2.png,cat\n",
            "line 2: cat/1.png lies in the folder of class 'cat'",
        ),
        ("path,label\ncat/1.png,0\ndog/1.png,1\n", "line 2: the label is 0, a number; .* add a column class_name"),
        (
            "path,label,class_name\ncat/1.png,0,cat\ndog/1.png,0,dog\n",
            "line 3: '0' goes with 'dog' here, but with 'cat' at",
        ),
        (
            "path,label,class_name\ncat/1.png,0,cat\ncat/2.png,1,cat\n",
            "line 3: 'cat' goes with '1' here, but with '0' at",
        ),
        ("path,label\ncat/1.png,\n", "line 2: the class of cat/1.png is empty"),
        ("path,label\ncat/1.png,cat\n", r"1 class \(cat\)"),
        ("path,label\ncat/1.png,cat\ndog/9.png,dog\n", "line 3: no picture 'dog/9.png'"),
        ("path,words\ncat/1.png,cat\n", "no column for the caption or the label; found 'path', 'words'"),
        ("path,label\n", "0 classes"),
        ("path,label,split\ncat/1.png,cat,train\ndog/1.png,dog,train\n", "has the splits train; choose one"),
    ],
)
def test_a_bad_table_gives_one_line(root, text, words):
    (root / "table.csv").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_labelled(str(root / "table.csv"))
    assert "\n" not in str(caught.value)


def test_a_split_that_is_not_there(root):
    table = root / "table.csv"
    table.write_text("path,label\ncat/1.png,cat\ndog/1.png,dog\n")
    with pytest.raises(DataError, match="has no splits; leave split 'train' out"):
        read_labelled(str(table), "train")


# CoOp's split files


def split_file(root: Path, content: object) -> str:
    (root / "split_zhou_Toy.json").write_text(json.dumps(content))
    return str(root / "split_zhou_Toy.json")


SPLIT = {
    "train": [["cat/1.png", 1, "cat"], ["dog/1.png", 0, "dog"]],
    "val": [],
    "test": [["emu/x/1.JPG", 2, "emu"], ["cat/2.png", 1, "cat"]],
}


@pytest.mark.parametrize("folder", ["", "images", "2750"])
def test_split_files_keep_their_order_and_labels(root, folder):
    if folder:
        (root / folder).mkdir()
        for name in ("cat", "dog", "emu"):
            (root / name).rename(root / folder / name)
    source = split_file(root, SPLIT)
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
def test_a_bad_split_file_gives_one_line(root, content, words):
    with pytest.raises(DataError, match=words) as caught:
        read_labelled(split_file(root, content), "train")
    assert "\n" not in str(caught.value)


def test_a_split_file_needs_a_split_and_must_be_json(root):
    with pytest.raises(DataError, match="has the splits test, train; choose one"):
        read_labelled(split_file(root, SPLIT))
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        read_labelled(split_file(root, SPLIT), "trian")
    (root / "split_zhou_Toy.json").write_text("{")
    with pytest.raises(DataError, match=r"split_zhou_Toy.json"):
        read_labelled(str(root / "split_zhou_Toy.json"), "train")


def test_the_splits_of_every_kind_of_source(root):
    assert splits_of(str(root)) == ()
    for split in ("train", "val", "test"):
        (root / "sets" / split / "cat").mkdir(parents=True)
    assert splits_of(str(root / "sets")) == ("test", "train", "val")
    file = root / "split.json"
    file.write_text(json.dumps({"train": [["cat/1.png", 0, "cat"]], "val": [], "test": [["dog/1.png", 1, "dog"]]}))
    assert splits_of(str(file)) == ("test", "train")
    file.write_text("[]")
    with pytest.raises(DataError, match="no labels found in it"):
        splits_of(str(file))
    table = root / "table.csv"
    table.write_text("path,label\ncat/1.png,cat\n")
    assert splits_of(str(table)) == ()
    table.write_text("path,label,split\ncat/1.png,cat,train\ndog/1.png,dog,held\n")
    assert splits_of(str(table)) == ("held", "train")
