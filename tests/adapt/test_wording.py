"""Rows of words and slots, against rows written by hand."""

import re

import pytest
from toy_encoders import toy_encoder

from polyprompt.adapt.wording import context_ids, context_rows, filled
from polyprompt.errors import ConfigError


@pytest.fixture(scope="module")
def text():
    return toy_encoder("clip").text


def read(text, row):
    """Letters for words, a dot for each slot."""
    return "".join("·" if token < 0 else chr(token - 5) for token in row)


@pytest.mark.parametrize(
    ("position", "expected"), [("end", "··· big cat."), ("middle", "· big cat··."), ("front", " big cat···.")]
)
def test_an_odd_context_has_its_smaller_half_in_front(text, position, expected):
    row = context_rows(text, context_ids(text, 3, ""), ["big_cat"], position)[0]
    assert read(text, row) == expected
    assert [token for token in row if token < 0] == [-1, -2, -3]


def test_words_go_on_behind_the_context_that_starts_from_them(text):
    assert read(text, context_rows(text, context_ids(text, 2, "abcd"), ["x"])[0]) == "··cd x."


def test_templates_class_by_class(text):
    rows = filled(text, ["a {}", "{} b"], ["x", "y_z"])
    assert [read(text, row) for row in rows] == ["a x", "x b", "a y z", "y z b"]
    for template in ("a cat", "a {} and {}", "a {0}"):
        with pytest.raises(ConfigError, match=re.escape(f"template {template!r}: needs one {{}}")):
            filled(text, [template], ["x"])


@pytest.mark.parametrize("template", ["a {} {", "{} {x}", "} {}", "{} {0.a}", "{{}}", "{} %s"])
def test_other_braces_of_a_template_are_text(text, template):
    (row,) = filled(text, [template], ["{y}"])
    assert read(text, row) == template.replace("{}", "{y}")
