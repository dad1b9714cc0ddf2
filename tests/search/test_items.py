"""Conditions as SQL has them, against the same ones in plain Python, drawn by hypothesis; files that are damaged."""

import os
import re
import shutil
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_search import paths

from polyprompt.errors import ConfigError, FileError
from polyprompt.search.collection import Collection
from polyprompt.search.items import BATCH, COLUMNS, Items, write
from polyprompt.search.query import Query, ask

NAMES = ("a.png", "B.PNG", "beach/dog_1.jpg", "beach/50% off.webp", "x/y/z.mp4", "it's.gif", "é/ß.png", "_.png")
TEXTS = sorted(name for name, kind in COLUMNS.items() if kind == "TEXT" and name != "camera")
NUMBERS = sorted(name for name, kind in COLUMNS.items() if kind == "INTEGER")
COMPARED = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Eight files of seven contents; two have a camera."""
    lines = {}
    for number, path in enumerate(NAMES):
        line = {"path": path, "size": 10**number, "changed": (1_500 + 60 * number) * 10**15, "width": 100 * number}
        line |= {"content": str(number % 7), "height": 7, "moves": path.endswith("mp4")}
        lines[path] = line | ({"camera": "Box", "taken": "2019-05-06T07:08:09"} if number < 2 else {})
    place = tmp_path_factory.mktemp("items") / "files"
    write(place, lines, {str(row): row for row in range(7)})
    items = Items(place)
    return items, [file for some in items.of_rows(range(7)).values() for file in some]


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def like(pattern):
    """SQL's LIKE: % is anything, _ one letter, large and small letters of ASCII alike."""
    parts = {"%": ".*", "_": "."}
    return re.compile(
        "".join(parts.get(sign, re.escape(sign)) for sign in pattern), re.DOTALL | re.ASCII | re.IGNORECASE
    )


def compared(column, sign, value, literal):
    return f"{column} {sign} {literal}", lambda file: COMPARED[sign](file[column], value)


known = st.sampled_from(["", *NAMES, "beach", "picture", "video", ".png", "2019-05-06", "2020"])
numbers = st.integers(-1, 10**8) | st.sampled_from([100, 700, 7, 2019, 5])
patterns = st.text(st.sampled_from("ab%_.pngPNG5 "), max_size=6)
simple = st.one_of(
    st.builds(
        lambda c, s, v: compared(c, s, v, quoted(v)), st.sampled_from(TEXTS), st.sampled_from(list(COMPARED)), known
    ),
    st.builds(lambda c, s, v: compared(c, s, v, v), st.sampled_from(NUMBERS), st.sampled_from(list(COMPARED)), numbers),
    st.builds(
        lambda c, p: (f"{c} like {quoted(p)}", lambda file: bool(like(p).fullmatch(file[c]))),
        st.sampled_from(TEXTS),
        patterns,
    ),
    st.builds(
        lambda c, v: (f"{c} in ({', '.join(map(str, v))})", lambda file: file[c] in v),
        st.sampled_from(NUMBERS),
        st.lists(numbers, min_size=1, max_size=3),
    ),
    st.just(("camera is null", lambda file: file["camera"] is None)),
)
conditions = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(lambda a: (f"not ({a[0]})", lambda file: not a[1](file)), inner),
        st.builds(lambda a, b: (f"({a[0]}) and ({b[0]})", lambda file: a[1](file) and b[1](file)), inner, inner),
        st.builds(lambda a, b: (f"({a[0]}) or ({b[0]})", lambda file: a[1](file) or b[1](file)), inner, inner),
    ),
    max_leaves=6,
)


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(conditions)
def test_a_condition_keeps_what_python_keeps(items, condition):
    (base, files), (where, holds) = items, condition
    assert len(files) == len(NAMES)
    assert base.where(where).tolist() == sorted({file.row for file in files if holds(file.facts)})


def test_rows_are_looked_up_in_parts(tmp_path):
    """More than one statement asks for."""
    rows = range(2 * BATCH + 3)
    lines = {f"{row}.png": {"path": f"{row}.png", "size": 1, "changed": -1, "content": str(row)} for row in rows}
    write(tmp_path / "files", lines, {str(row): row for row in rows})
    found = Items(tmp_path / "files").of_rows(rows[::-1])
    assert list(found) == list(rows[::-1])
    assert {row: [file.raw for file in files] for row, files in found.items()} == {row: [f"{row}.png"] for row in rows}


def test_a_filter_keeps_what_sql_keeps(model, photos, filled):
    found = Collection(filled)
    everything = paths(ask(found, Query(wanted=model.texts(["a dog"])), 99))
    for where, keeps in {
        "path like 'a/%'": lambda path: path.startswith("a/"),
        "folder = 'b' or name = '2.png'": lambda path: path.startswith("b/") or path.endswith("/2.png"),
        "not (width > 100) and ending in ('.png')": lambda path: True,
        "year >= 2020 and kind = 'picture' -- all": lambda path: True,
        "size < 0": lambda path: False,
    }.items():
        hits = ask(found, Query(wanted=model.texts(["a dog"]), where=where), 99)
        assert paths(hits) == [path for path in everything if keeps(path)], where


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("yeer > 3", "Did you mean 'year'"),
        ("year >", "syntax error"),
        ("", "is empty"),
        ("x" * 3000, "3,000 letters"),
        ("1) union select 1 from files where (1", "plain functions"),
        ("row in (select row from bad)", "plain functions"),
        ("exists (select 1 from files)", "plain functions"),
        ("load_extension('x')", "plain functions"),
        ("randomblob(9) is null", "plain functions"),
        ("raw is null", "plain functions"),
        ("1); drop table files; --", "one statement"),
        ("path match 'x'", "Write a condition"),
        ("a\0b", "Write a condition"),
        ("path = '\udce9'", "Write a condition"),
    ],
)
def test_a_filter_that_cannot_be(where, message, filled):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as error:
        Collection(filled).items.where(where)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("left", [0, 1000, 5000])
def test_an_index_that_is_cut_while_it_is_asked_is_one_line(left, model, filled):
    found = Collection(filled)
    os.truncate(found.items.path, left)
    for asked in (
        found.items.counts,
        found.items.rows,
        found.items.bad,
        lambda: found.items.of_rows([0]),
        lambda: found.items.where("year > 3"),  # it is no fault of the condition
    ):
        with pytest.raises(FileError, match=r"\.sqlite: cannot be read \(.*open the collection again") as error:
            asked()
        assert "\n" not in str(error.value)


def test_a_full_disk_while_the_index_is_made_is_one_line(filled, monkeypatch):
    def full(path):
        base = sqlite3.connect(path, isolation_level=None)
        base.execute("PRAGMA max_page_count = 1")
        return base

    monkeypatch.setattr("polyprompt.search.items._new", full)
    shutil.rmtree(filled / "index")
    with pytest.raises(FileError, match=r"cannot be written \(database or disk is full\)\. Free some room"):
        Collection(filled)
    assert not list((filled / "index").glob("*.new"))
