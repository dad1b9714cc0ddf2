"""Cells of a table: which column, which texts, which label."""

import math

import pytest

from polyprompt.data.rows import (
    CAPTION,
    IMAGE,
    LABEL,
    column,
    is_empty,
    label_of,
    label_or_empty,
    name_in,
    optional_column,
    text_of,
    texts,
)
from polyprompt.errors import DataError


@pytest.mark.parametrize(
    ("columns", "usual", "name"),
    [
        (["id", " File_Name ", "caption"], IMAGE, " File_Name "),
        (["TEXT", "Caption"], CAPTION, "Caption"),  # the more usual name wins
        (["label", "Label"], LABEL, "label"),  # the first of two spellings
    ],
)
def test_a_column_is_found_by_its_usual_names(columns, usual, name):
    assert column(columns, usual, "thing", "t.csv") == name


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    assert optional_column(["a", "b"], ("c", "d")) is None
    with pytest.raises(DataError, match=r"t\.csv: no column for the thing; found 'a', 'b'\. Name it c, d or e\."):
        column(["a", "b"], ("c", "d", "e"), "thing", "t.csv")
    with pytest.raises(DataError, match="found none"):
        column([], ("c", "d"), "thing", "t.csv")


@pytest.mark.parametrize(("value", "found"), [("a", ["a"]), (["a", "b"], ["a", "b"]), (("a",), ["a"])])
def test_a_cell_holds_a_text_or_a_list_of_them(value, found):
    assert texts(value, "here") == found


@pytest.mark.parametrize("value", [None, 3, [], [1], ["a", None], {"a": 1}])
def test_a_cell_that_holds_no_text(value):
    with pytest.raises(DataError, match=r"here: the caption is .*; give a string or a list of strings"):
        texts(value, "here")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (7, 7),
        (" 12 ", 12),
        ("007", 7),
        ("cat", "cat"),
        ("1.5", "1.5"),
        ("3.0", 3),
        (3.0, 3),
        ("3.", "3."),
        ("1.50", "1.50"),
        ("-1", "-1"),
        ("٣", "٣"),
        ("9" * 12, "9" * 12),
    ],
)
def test_digits_are_a_number_and_all_else_is_a_name(value, label):
    assert label_of(value, "here") == label
    assert type(label_of(value, "here")) is type(label)


@pytest.mark.parametrize("value", [True, 1.5, None, ["cat"]])
def test_a_label_that_is_neither(value):
    with pytest.raises(DataError, match=r"here: the label is .*; give a name or a whole number"):
        label_of(value, "here")


@pytest.mark.parametrize("value", [None, math.nan, "", " ", "nan", " NaN ", "null", "<NA>"])
def test_a_cell_that_holds_nothing(value):
    assert is_empty(value)
    assert name_in(value, "split", "here") == ""
    assert label_or_empty(value, "here") == ""


@pytest.mark.parametrize(("value", "name"), [("train", "train"), (0, "0"), (" a ", " a "), ("none", "none")])
def test_a_cell_that_holds_a_name(value, name):
    assert not is_empty(value)
    assert name_in(value, "split", "here") == name


@pytest.mark.parametrize("value", [["train"], {"a": 1}, True, 1.5])
def test_a_cell_that_holds_no_name(value):
    for read in (name_in, text_of):
        with pytest.raises(DataError, match=r"here: split is .*; give a text"):
            read(value, "split", "here")
