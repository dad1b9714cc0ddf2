"""What may be asked: limits that hold at their edge, fields that are misspelt, kinds of items."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from polyprompt.serve.requests import Classify, Embed, ImageItem, Marks, Search, Session, Sort, TextItem, readable

CLASSIFY = {"model": "toy", "input": ["data:"], "labels": ["a", "b"]}
MARKS = {"right": [1], "wrong": [2]}
SEARCH = {"collection": "photos"}
SORT = {"rows": [0], "labels": ["a", "b"]}


def wrong(kind, asked):
    """Where each mistake of a request lies, and what it is."""
    with pytest.raises(ValidationError) as error:
        kind.model_validate(asked)
    return [(one["loc"], one["msg"]) for one in error.value.errors()]


@given(st.text(st.characters()))  # half characters among them
def test_a_text_says_something_in_whole_characters(text):
    whole = text.encode("utf-8", "ignore").decode() == text
    if whole and text.split():
        assert readable(text) == text
    else:
        with pytest.raises(ValueError, match="half a character" if text.split() else "a text is empty"):
            readable(text)


@pytest.mark.parametrize(
    ("kind", "asked", "field", "most", "more"),
    [
        (Search, SEARCH, "text", "a" * 8_000, "a" * 8_001),
        (Search, SEARCH, "like", ["data:"] * 8, ["data:"] * 9),
        (Search, SEARCH, "like_rows", [2**31 - 1] * 64, [1] * 65),
        (Search, SEARCH, "not", ["a"] * 8, ["a"] * 9),
        (Search, SEARCH, "adapted", "a" * 64, "a" * 65),
        (Search, SEARCH, "weights", [1e30, -1e30] * 256, [1] * 513),
        (Search, SEARCH, "where", "a" * 2_000, "a" * 2_001),
        (Search, SEARCH, "fold", -1, -1.001),
        (Search, SEARCH, "fold", 1, 1.001),
        (Search, SEARCH, "top", 1, 0),
        (Search, SEARCH, "top", 1_000, 1_001),
        (Classify, CLASSIFY, "input", ["data:"] * 64, ["data:"] * 65),
        (Classify, CLASSIFY, "input", ["data:"], []),
        (Classify, CLASSIFY, "labels", [*map(str, range(256))], [*map(str, range(257))]),
        (Classify, CLASSIFY, "labels", ["a", "b"], ["a"]),
        (Classify, CLASSIFY, "labels", ["a b", "ab"], ["a b", "A_b"]),
        (Sort, SORT, "rows", [0] * 1_000, [0] * 1_001),
        (Sort, SORT, "rows", [0], []),
        (Marks, MARKS, "right", [1] * 64, [1] * 65),
        (Marks, MARKS, "wrong", [1], []),
        (Session, {}, "token", "a" * 1_000, "a" * 1_001),
        (Embed, {"model": "toy"}, "input", ["a"] * 256, ["a"] * 257),
    ],
)
def test_limits_hold_at_their_edge(kind, asked, field, most, more):
    assert kind.model_validate(asked | {field: most}).model_dump(by_alias=True)[field] == most
    ((where, _),) = wrong(kind, asked | {field: more})
    assert where[0] == field


@pytest.mark.parametrize(
    ("kind", "asked", "where"),
    [
        (Search, SEARCH | {"weights": [0, math.inf]}, ("weights", 1)),
        (Search, SEARCH | {"weights": [math.nan]}, ("weights", 0)),
        (Search, SEARCH | {"weights": [-1.1e30]}, ("weights", 0)),
        (Search, SEARCH | {"fold": math.nan}, ("fold",)),
        (Search, SEARCH | {"like_rows": [0, -1]}, ("like_rows", 1)),
        (Search, SEARCH | {"like_rows": [2**31]}, ("like_rows", 0)),
        (Search, SEARCH | {"not": ["a", " "]}, ("not", 1)),
        (Sort, SORT | {"labels": ["a", "b" * 201]}, ("labels", 1)),
        (Classify, CLASSIFY | {"labels": ["a", "\ud800"]}, ("labels", 1)),
        (Marks, MARKS | {"text": "\t"}, ("text",)),
    ],
)
def test_one_wrong_value_of_a_list_is_named(kind, asked, where):
    assert [place for place, _ in wrong(kind, asked)] == [where]


def test_a_misspelt_field_is_refused_and_openais_others_are_passed_over():
    for kind, asked in (
        (Search, SEARCH),
        (Classify, CLASSIFY),
        (Sort, SORT),
        (Marks, MARKS),
        (Session, {"token": "x"}),
    ):
        assert wrong(kind, asked | {"txt": 1}) == [(("txt",), "Extra inputs are not permitted")]
    assert wrong(Search, SEARCH | {"unwanted": ["a"]}) == [(("unwanted",), "Extra inputs are not permitted")]
    asked = Embed.model_validate({"model": "toy", "input": "a", "user": "me", "safety_identifier": "x"})
    assert asked == Embed(model="toy", input="a", user="me")


def test_items_of_an_embedding_are_told_apart_by_what_they_hold():
    given = ["a", {"text": "b"}, {"image": "data:image/png;base64,AA=="}]
    asked = Embed.model_validate({"model": "toy", "input": given})
    assert asked.input == ["a", TextItem(text="b"), ImageItem(image="data:image/png;base64,AA==")]
    assert Embed(model="toy", input=asked.input) == asked  # as Python has them, too
    for item in (1, 1.5, None, True, ["a"]):
        ((where, message),) = wrong(Embed, {"model": "toy", "input": ["a", item]})
        assert where[:3] == ("input", "list", 1)
        assert message.endswith("token ids are not read")
    for whole in (1, None, {"text": "a"}):
        assert wrong(Embed, {"model": "toy", "input": whole}) == [(("input",), "give a string or a list")]
    both = wrong(Embed, {"model": "toy", "input": [{"image": "data:", "text": "a"}]})
    assert both == [(("input", "list", 0, "image", "text"), "Extra inputs are not permitted")]
