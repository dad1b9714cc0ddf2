"""Settings of both kinds, pydantic's and dataclasses: taken strictly, told where they are wrong, and described."""

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_origin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from polyprompt import methods
from polyprompt.errors import ConfigError, PolypromptError
from polyprompt.runs.settings import AdaptSettings, AlignSettings
from polyprompt.settings import (
    MISSING,
    Settings,
    check,
    checked,
    merged,
    nested,
    plain_hint,
    setting_names,
    settings_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    """Settings inside settings."""

    weight: float = 1.0
    """How much."""
    words: tuple[str, ...] = ("a", "b")
    """Which.

    In order.
    """

    def __post_init__(self):
        if self.weight < 0:
            raise ConfigError(f"weight is {self.weight}; a weight is 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plain:
    """As methods have it."""

    depth: int
    """Blocks."""
    few: Annotated[int, Field(ge=1)] = 2
    flag: bool = False
    mode: Literal["words", "late"] = "late"
    """Where."""
    rate: float | None = None
    pairs: tuple[tuple[int, float], ...] = ()
    inner: Inner = field(default_factory=Inner)
    """Some more."""
    maybe: Inner | None = None


class InnerModel(Settings):
    """The same as pydantic has it."""

    weight: float = Field(default=1.0, ge=0)
    """How much."""
    words: tuple[str, ...] = ("a", "b")
    """Which.

    In order.
    """


class Model(Settings):
    """The same as pydantic has it."""

    depth: int
    """Blocks."""
    few: int = Field(default=2, ge=1)
    flag: bool = False
    mode: Literal["words", "late"] = "late"
    """Where."""
    rate: float | None = None
    pairs: tuple[tuple[int, float], ...] = ()
    inner: InnerModel = InnerModel()
    """Some more."""
    maybe: InnerModel | None = None


KINDS = pytest.mark.parametrize("kind", [Plain, Model])


@KINDS
def test_plain_values_become_what_the_fields_say(kind):
    values = {
        "depth": 3, "rate": 1, "pairs": [[1, 2], [3, 0.5]], "inner": {"words": ["x"]}, "maybe": {"weight": 2},
        "mode": "words",
    }  # fmt: skip
    found = checked(kind, values)
    assert (found.depth, found.rate, found.pairs, found.mode) == (3, 1.0, ((1, 2.0), (3, 0.5)), "words")
    assert isinstance(found.rate, float)
    assert isinstance(found.pairs[0][1], float)
    assert (found.inner.words, found.inner.weight, found.maybe.weight, found.few, found.flag) == (
        ("x",),
        1.0,
        2.0,
        2,
        False,
    )
    assert checked(kind, {"depth": 3, "maybe": None}).maybe is None
    again = dataclasses.asdict(found) if kind is Plain else found.model_dump(mode="json")
    assert checked(kind, json.loads(json.dumps(again))) == found
    assert checked(kind, {"depth": 3, "inner": found.inner}).inner == found.inner
    with pytest.raises((dataclasses.FrozenInstanceError, ValueError)):
        found.depth = 4


@KINDS
def test_numbers_of_numpy_and_paths_serve_too(kind):
    found = checked(kind, {"depth": np.int64(3), "rate": np.float32(0.5), "inner": {"words": [Path("a/b")]}})
    assert (type(found.depth), found.depth, found.rate, found.inner.words) == (int, 3, 0.5, ("a/b",))


WRONG = [
    ({}, "depth is not given. Blocks."),
    ({"depth": True}, "depth is True; it should be a valid integer."),
    ({"depth": "3"}, "depth is '3'; it should be a valid integer."),
    ({"depth": 3.0}, "depth is 3.0; it should be a valid integer."),
    ({"depth": None}, "depth is None; it should be a valid integer."),
    ({"depth": 3, "rate": True}, "rate is True; it should be a valid number."),
    ({"depth": 3, "rate": "1"}, "rate is '1'; it should be a valid number."),
    ({"depth": 3, "rate": float("nan")}, "rate is nan; it should be a finite number."),
    ({"depth": 3, "rate": float("inf")}, "rate is inf; it should be a finite number."),
    ({"depth": 3, "rate": 1e39}, "rate is 1e+39; it should be at most 4,294,967,295, with a point at most 3.4e+38."),
    ({"depth": 2**32}, "depth is 4294967296; it should be at most 4,294,967,295, with a point at most 3.4e+38."),
    ({"depth": 3, "rate": -(10**400)}, "rate is -1000000"),
    ({"depth": 3, "flag": 1}, "flag is 1; it should be a valid boolean."),
    ({"depth": 3, "flag": "true"}, "flag is 'true'; it should be a valid boolean."),
    ({"depth": 3, "mode": "hard"}, "mode is 'hard'; it should be 'words' or 'late'."),
    ({"depth": 3, "few": 0}, "few is 0; it should be greater than or equal to 1."),
    ({"depth": 3, "pairs": [[1]]}, "pairs is [[1]]; Field required."),
    ({"depth": 3, "inner": {"words": "ab"}}, "inner.words is 'ab'; it should be a list, as in [\"ab\"]."),
    ({"depth": 3, "pairs": 4}, "pairs is 4; it should be a list, as in [[1, 2]]."),
    ({"depth": 3, "inner": {"words": ["a", 1]}}, "inner.words is ['a', 1]; it should be a valid string."),
    ({"depth": 3, "inner": {"words": ["\ud800"]}}, "inner.words is ['\\ud800']; it holds half a character"),
    ({"depth": 3, "inner": {"words": [b"a"]}}, "inner.words is [b'a']; it should be a text, a number, true, false"),
    ({"depth": 3, "inner": 3}, "inner is 3; it holds settings of its own: inner.weight, inner.words."),
    ({"depth": 3, "inner": None}, "inner is None; it holds settings of its own: inner.weight, inner.words."),
    ({"depth": 3, "maybe": True}, "maybe is True; it holds settings of its own: maybe.weight, maybe.words."),
    ({"depth": 3, "inner": {"wieght": 1}}, "no setting is called 'inner.wieght'. Did you mean inner.weight?"),
    ({"depht": 3}, "no setting is called 'depht'. Did you mean depth?"),
    ({"depth": 3, "zzz": 3}, "no setting is called 'zzz'. Known: depth, few, flag, mode, rate, pairs, inner.weight, "),
    ({"depth": 3, 7: 3}, "no setting is called '7'."),
    ([3], "holds [3]; settings are keys with values"),
    ({"depth": 3, "inner": {"weight": -1.0}}, "weight is -1.0; "),
]  # fmt: skip


@KINDS
@pytest.mark.parametrize(("values", "expected"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_told_with_its_place(kind, values, expected):
    with pytest.raises(ConfigError) as error:
        checked(kind, values, "a.yaml")
    assert str(error.value).startswith("a.yaml: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError) as error:
        checked(kind, values)
    assert not str(error.value).startswith("a.yaml")


LISTS = [
    (method, one.name)
    for method in methods.names()
    for one in settings_of(methods.config_of(method))
    if any(get_origin(hint) in (tuple, list) for hint in plain_hint(one.hint))
]


@pytest.mark.parametrize(("method", "name"), LISTS)
@pytest.mark.parametrize("given", ["3,4", 3, "a photo of a {}."])
def test_where_a_list_is_needed_one_that_will_do_is_shown(method, name, given):
    assert len(LISTS) > 6
    kind = methods.config_of(method)
    with pytest.raises(ConfigError, match=r"it should be a list, as in \[.*\]\.$") as error:
        check(kind, nested(name, given))
    shown = json.loads(re.search(r"as in (\[.*\])\.$", str(error.value))[1])
    check(kind, nested(name, shown))
    if (name, given) == ("layers", "3,4"):
        assert shown == [3, 4]


@KINDS
def test_a_part_is_checked_without_what_is_missing(kind):
    assert check(kind, {"rate": 2, "inner": {"words": ["x"]}}) == {"rate": 2.0, "inner": {"words": ("x",)}}
    with pytest.raises(ConfigError, match=r"^--set: no setting is called 'method.dpth'. Did you mean method.depth\?"):
        check(kind, {"dpth": 2}, "--set", "method.")


@KINDS
def test_settings_are_described_by_their_fields(kind):
    found = {one.name: one for one in settings_of(kind)}
    assert list(found) == [
        "depth", "few", "flag", "mode", "rate", "pairs", "inner", "inner.weight", "inner.words", "maybe",
        "maybe.weight", "maybe.words",
    ]  # fmt: skip
    assert found["depth"].default is MISSING
    assert (found["few"].default, found["inner.words"].default, found["maybe"].default) == (2, ("a", "b"), None)
    assert [found[name].doc for name in ("depth", "few", "inner.words")] == ["Blocks.", "", "Which.\n\nIn order."]
    assert setting_names(kind) == [name for name in found if name not in ("inner", "maybe")]


def test_merged_lays_settings_over_settings():
    base = {"a": 1, "text": {"depth": 1, "words": [1]}, "method": {"name": "coop", "depth": 3}}
    assert merged(base, {"text": {"words": [2]}, "b": 2}) == base | {"text": {"depth": 1, "words": [2]}, "b": 2}
    assert base["text"] == {"depth": 1, "words": [1]}
    assert nested("text.words", [1]) == {"text": {"words": [1]}}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*setting_names(AlignSettings), *setting_names(AdaptSettings), "text", "loss"])


@given(
    st.dictionaries(KEYS | st.text(max_size=8), PLAIN, max_size=4),
    st.sampled_from([AlignSettings, AdaptSettings, Plain]),
)
def test_whatever_is_given_is_taken_or_refused_in_one_line(values, kind):
    tree = {}
    for name, value in values.items():
        tree = merged(tree, nested(name, value))
    message = ""
    try:
        checked(kind, {"data": "x", "encoder": "y", "method": "maple", **tree} if kind is AdaptSettings else tree)
    except PolypromptError as error:
        message = str(error)
    assert "\n" not in message
