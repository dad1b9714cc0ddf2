"""What a source may be called, what it holds, and what is nothing."""

import json

import pytest
from toy_data import captions

from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.data.source import kinds_of
from polyprompt.errors import DataError


def test_sources_that_are_nothing(tmp_path):
    with pytest.raises(DataError, match=r"no such file or folder, and no data set of the catalogue"):
        read_pairs(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no captions found in it"):
        read_pairs(str(tmp_path))
    for name in ("none.csv", "none.json", "none.tar"):
        with pytest.raises(DataError, match="no such file"):
            read_pairs(str(tmp_path / name))


def test_archives_that_nobody_unpacked(root):
    root.file("cat.zip", b"PK").file("dog.tar.gz", b"")
    with pytest.raises(DataError, match=r"no labels found in it\. .* holds cat.zip, dog.tar.gz; unpack what is meant"):
        read_labelled(root.path)
    with pytest.raises(DataError, match=r"cat.zip: an archive; unpack it, and give the folder$"):
        read_labelled(root.path / "cat.zip")


def test_a_folder_around_the_folders_that_are_meant(root, messages):
    root.pictures("pets/train/cat/1.png", "pets/train/dog/1.png", "pets/test/cat/1.png", "pets/test/dog/1.png")
    with pytest.raises(DataError, match=r"1 class \(pets\)"):
        read_labelled(root.path)
    line = "pets is read as the one class, but holds the folders test, train; if these are the classes, or splits, "
    assert f"{line}give {root.path}/pets." in messages()


def test_class_folders_beside_captions_are_labels_and_the_captions_captions(root, messages):
    root.pictures("red/1.png", "blue/1.png").file("captions.csv", "file,caption\nred/1.png,a red square\n")
    assert read_labelled(str(root.path)).class_names == ("blue", "red")
    assert captions(read_pairs(str(root.path))) == [("red/1.png", "a red square")]
    assert set(kinds_of(str(root.path))) == {"captions", "labels"}
    root.json("dataset_x.json", {"images": []})
    with pytest.raises(DataError, match=r"may be Karpathy's JSON .* or a table .*; name the file that is meant"):
        read_pairs(str(root.path))
    with pytest.raises(DataError, match=r"d: holds labels, no captions|no captions"):
        read_pairs(str(root.path / "red"))


def test_the_name_of_a_set_is_never_empty(root, cd):
    root.pictures("red/1.png", "blue/1.png")
    cd(root.path)
    assert read_labelled(".").name == "d"
    assert json.dumps(read_labelled(".").name)
