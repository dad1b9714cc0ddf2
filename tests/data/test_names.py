"""Class names that a text model can tell apart, and lists of them in files."""

import inspect

import pytest

from polyprompt.data.names import check_class_names
from polyprompt.data.read import read_labelled
from polyprompt.errors import DataError


def test_a_list_of_names_has_to_be_whole(root):
    root.pictures("0/1.png", "1/1.png")
    for text, words in (
        ("0 cat\n", "classnames.txt does not name this folder"),
        ("0 cat\n1\n", r"classnames.txt, line 2: '1' has no class name"),
        ("0 cat\n0 dog\n", r"line 2: the folder '0' has a name already"),
        ("0 cat\n1 Cat\n", "'cat' and 'Cat' have one name"),
    ):
        root.file("classnames.txt", text)
        with pytest.raises(DataError, match=words):
            read_labelled(str(root.path))


def test_class_names_that_cannot_be():
    for names, words in (
        ("lynx", r"the class names are one text, 'lynx'; give a list: \['lynx', ...\]"),
        (["cat"], r"1 class \(cat\); telling classes apart needs at least two"),
        (["cat", " "], "class name ' ' is empty"),
        (["cat", "a\ud800"], "letter 1, .* is half a character"),
        (["hot_dog", "Hot  dog"], "'hot_dog' and 'Hot  dog' have one name"),
        (["café", "cafe\u0301"], "have one name"),
    ):
        with pytest.raises(DataError, match=words):
            check_class_names(names)
    assert check_class_names(["tench, Tinca tinca", "goldfish"]) == ("tench, Tinca tinca", "goldfish")
    assert check_class_names(["missile", "missile"], twins=["missile"]) == ("missile", "missile")


def test_numbers_are_no_class_names():
    unchecked = inspect.unwrap(check_class_names)  # the tests' own check of types would refuse them first
    with pytest.raises(DataError, match="toy: class name 1 is a int; give names as texts"):
        unchecked([1, 2], "toy")
