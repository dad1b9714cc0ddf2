"""Settings as help pages show them."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from polyprompt.cli.shown import default_text, limits, notes, value_word
from polyprompt.settings import MISSING, Setting


def one(hint, default=None):
    return Setting("a.b", hint, default, "", None)


@pytest.mark.parametrize(
    ("hint", "word"),
    [
        (int, "INTEGER"), (int | None, "INTEGER"), (float, "NUMBER"), (str | None, "TEXT"), (bool, "true|false"),
        (Literal["a", "b"], "a|b"), (int | Literal["all"], "INTEGER|all"), (tuple[str, ...], "TEXT"),
        (Annotated[int | None, Field(ge=1)], "INTEGER"), (dict[str, int], "TEXT"),
    ],
)  # fmt: skip
def test_a_value_is_called_by_its_type(hint, word):
    assert value_word(one(hint)) == word


@pytest.mark.parametrize(
    ("default", "text"),
    [
        (MISSING, ""), (None, ""), ((), ""), (True, "true"), (False, "false"), (0, "0"), (1e-5, "1e-05"), (0.5, "0.5"),
        ("late", "late"), (("a", "b"), "[a, b]"),
    ],
)  # fmt: skip
def test_a_default_is_written_as_one_would_write_it(default, text):
    assert default_text(one(str, default)) == text


def test_limits_are_said():
    assert limits(Annotated[int, Field(ge=1, le=9)]) == ["at least 1", "at most 9"]
    assert limits(Annotated[float | None, Field(gt=0, lt=1)]) == ["above 0", "below 1"]
    assert limits(Annotated[int, Field(ge=1)] | None) == ["at least 1"]
    assert limits(int | None) == limits(Annotated[int, Field(lt=2**63)]) == []
    assert notes(one(Annotated[int, Field(ge=1)], 6)) == "[default: 6; at least 1]"
    assert notes(one(str | None)) == ""
