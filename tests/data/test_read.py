"""Which splits there are to be read."""

import json

import pytest

from polyprompt.data.read import read_labelled, splits_of
from polyprompt.errors import DataError


def test_a_split_that_is_not_there(animals):
    table = animals / "table.csv"
    table.write_text("path,label\ncat/1.png,cat\ndog/1.png,dog\n")
    with pytest.raises(DataError, match="has no splits; leave split 'train' out"):
        read_labelled(str(table), "train")


def test_the_splits_of_every_kind_of_source(animals):
    assert splits_of(str(animals)) == ()
    for split in ("train", "val", "test"):
        (animals / "sets" / split / "cat").mkdir(parents=True)
    assert splits_of(str(animals / "sets")) == ("test", "train", "val")
    file = animals / "split.json"
    file.write_text(json.dumps({"train": [["cat/1.png", 0, "cat"]], "val": [], "test": [["dog/1.png", 1, "dog"]]}))
    assert splits_of(str(file)) == ("test", "train")
    file.write_text("[]")
    with pytest.raises(DataError, match="no labels found in it"):
        splits_of(str(file))
    table = animals / "table.csv"
    table.write_text("path,label\ncat/1.png,cat\n")
    assert splits_of(str(table)) == ()
    table.write_text("path,label,split\ncat/1.png,cat,train\ndog/1.png,dog,held\n")
    assert splits_of(str(table)) == ("held", "train")
