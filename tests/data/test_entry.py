"""What an entry of the catalogue says of its parts, splits and numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from polyprompt.data import catalog
from polyprompt.errors import DataError, UnknownNameError

PLAIN = replace(
    catalog.entry("eurosat"), parts=(), default_part="", splits=("train", "test"), counts={"train": 7, "test": 3}
)
PARTS = replace(
    PLAIN, parts=("Photo", "sketch"), splits=(), splits_of_part={"sketch": ("train",)},
    counts={"Photo": 10, "sketch/train": 4, "sketch": 5},
)  # fmt: skip


def test_a_set_lies_below_a_root_or_is_the_root(tmp_path, monkeypatch):
    entry = replace(PLAIN, folders=("first", "a/second"))
    with pytest.raises(DataError, match=rf"x: not there; looked for {tmp_path}/first or {tmp_path}/a/second\."):
        entry.folder("x", tmp_path)
    (tmp_path / "a" / "second").mkdir(parents=True)
    assert entry.folder("x", tmp_path) == tmp_path / "a" / "second"
    assert entry.folder("x", tmp_path / "a" / "second") == tmp_path / "a" / "second"
    monkeypatch.chdir(tmp_path / "a" / "second")
    assert entry.folder("x", Path()).resolve() == tmp_path / "a" / "second"
    (tmp_path / "first").mkdir()
    assert entry.folder("x", tmp_path) == tmp_path / "first"


def test_a_root_that_is_called_like_the_last_folder_alone_is_not_the_set(tmp_path, monkeypatch):
    entry = replace(PLAIN, folders=("first", "a/second", "."))
    (tmp_path / "b" / "second").mkdir(parents=True)
    with pytest.raises(DataError, match=rf"looked for {tmp_path}/b/second/first or {tmp_path}/b/second/a/second\."):
        replace(entry, folders=("first", "a/second")).folder("x", tmp_path / "b" / "second")
    (tmp_path / "first" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "first" / "inner")
    assert entry.folder("x", Path("..")).resolve() == tmp_path / "first"


def test_parts_are_found_whatever_their_case_and_joined():
    assert PARTS.part("x", "photo") == "Photo"
    assert PARTS.part("x", "SKETCH+photo") == "sketch+Photo"
    assert PLAIN.part("x", "") == ""
    assert replace(PARTS, default_part="sketch").part("x", "") == "sketch"
    with pytest.raises(UnknownNameError, match=r"'phot'\. Did you mean 'Photo'"):
        PARTS.part("x", "phot")
    with pytest.raises(DataError, match="x: name a part of it: x:Photo, x:sketch"):
        PARTS.part("x", "")
    with pytest.raises(DataError, match="x: has no parts, but x:photo names one"):
        PLAIN.part("x", "photo")


@pytest.mark.parametrize(
    ("entry", "part", "split", "number"),
    [
        (PLAIN, "", "train", 7),
        (PLAIN, "", None, None),  # splits may share pictures
        (PLAIN, "", "val", None),
        (PARTS, "Photo", None, 10),
        (PARTS, "sketch", "train", 4),
        (PARTS, "sketch", "other", 5),
        (PARTS, "sketch", None, None),
        (PARTS, "Photo+sketch", "other", 15),
        (replace(PARTS, counts={"Photo": 10}), "Photo+sketch", "train", None),
    ],
)
def test_how_many_there_should_be(entry, part, split, number):
    assert entry.expected(entry.counts, part, split) == number
