"""Karpathy's JSON gives back what was written; every kind of damage gives one line that says where."""

import json
from pathlib import Path

import pytest
from toy_data import COLOURS, by_key, one_line

from polyprompt.data.read import read_pairs
from polyprompt.errors import DataError


def karpathy(folder: Path, **change) -> str:
    images = [
        {"filename": f"{n}.png", "split": split, "sentences": [{"raw": f"{n}{letter}"} for letter in "ab"]}
        for n, split in enumerate(["train", "restval", "test"])
    ]
    images[0] |= change
    (folder / "dataset_toy.json").write_text(json.dumps({"images": images, "dataset": "toy"}))
    return str(folder / "dataset_toy.json")


def test_karpathys_json(folder):
    source = karpathy(folder)
    assert by_key(read_pairs(source)) == {f"{n}.png": [f"{n}a", f"{n}b"] for n in range(3)}
    assert by_key(read_pairs(str(folder), "train+restval")) == {f"{n}.png": [f"{n}a", f"{n}b"] for n in range(2)}


def test_karpathys_filepath_is_a_folder_and_part_of_the_key(folder):
    (folder / "train2014").mkdir()
    (folder / "images" / "0.png").rename(folder / "train2014" / "0.png")
    pairs = read_pairs(karpathy(folder, filepath="train2014"))
    assert [image.key for image in pairs.images] == ["train2014/0.png", "1.png", "2.png"]
    assert [image.open().getpixel((0, 0)) for image in pairs.images] == COLOURS
    assert read_pairs(karpathy(folder, filename="1.png", filepath="gone"), "train").images[0].key == "gone/1.png"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filename": "9.png"}, r"dataset_toy.json, images\[0\].sentences\[0\]: no picture '9.png'"),
        ({"filename": None}, r"images\[0\]: 'filename' is None, must be a str; found the fields 'filename'"),
        ({"sentences": []}, r"images\[0\]: 0.png has no sentences"),
        ({"sentences": [{"tokens": ["a"]}]}, r"images\[0\].sentences\[0\]: 'raw' is None"),
        ({"sentences": ["a"]}, r"images\[0\].sentences\[0\]: is a str; it must be an object"),
        ({"sentences": [{"raw": "\n"}]}, r"images\[0\].sentences\[0\]: the caption of 0.png is empty"),
    ],
)
def test_a_bad_karpathy_json_gives_one_line(folder, change, words):
    with pytest.raises(DataError, match=words) as caught:
        read_pairs(karpathy(folder, **change))
    assert one_line(caught)


def test_entries_of_one_file_are_one_picture(root, messages):
    entries = [("a", "train"), ("b", "test")]
    images = [{"filepath": at, "filename": "1.jpg", "split": s, "sentences": [{"raw": at}]} for at, s in entries]
    root.pictures("images/1.jpg").json("Dataset_x.json", {"images": images})
    assert by_key(read_pairs(str(root.path))) == {"a/1.jpg": ["a", "b"]}
    told = messages()
    assert "1 picture is named in two ways, and read as one (b/1.jpg is a/1.jpg)" in told
    assert "1 picture lies in two splits, so what is scored was seen before: a/1.jpg in train and test" in told
    root.json("dataset_y.json", {"images": images})
    with pytest.raises(DataError, match=r"d: holds Dataset_x.json and dataset_y.json; give one of them"):
        read_pairs(str(root.path))
