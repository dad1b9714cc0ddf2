"""YAML for settings: what JSON says too, words that stay words, and one line for all that cannot be built."""

import json
import os
import re

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from polyprompt.disk.yaml import LARGEST, parse_yaml, read_yaml
from polyprompt.errors import ConfigError

TEXTS = st.text(
    st.characters(
        min_codepoint=32, exclude_categories=["Cs", "Cc"], exclude_characters="\x7f\ufeff\u2028\u2029\ufffe\uffff"
    )
)
KEYS = TEXTS.filter(lambda text: len(json.dumps(text)) < 1000)
"""YAML ends a key that has no mark of its own after 1,024 characters."""
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(KEYS, inside, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_json_is_read_as_json(value):
    assert parse_yaml(json.dumps(value)) == value
    assert parse_yaml(json.dumps(value, ensure_ascii=False, indent=1)) == value


@given(PLAIN)
def test_what_pyyaml_writes_is_read_again(value):
    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    text = yaml.dump(value, Dumper=Dumper, allow_unicode=True)
    # YAML 1.1, which it writes, takes 0E0 and 08 for texts; 1.2 for numbers
    assume(not re.search(r"\d[eE][-+]?\d|\b0\d", text))
    assert parse_yaml(text) == value


SCALARS = {
    "no": "no", "Yes": "Yes", "on": "on", "2020-02-30": "2020-02-30", "2020-02-20": "2020-02-20", "12:30": "12:30",
    "1_000": "1_000", "0x10": "0x10", "010": 10, "-3": -3, "+4": 4, "1e-5": 1e-5, "1E3": 1000.0, ".5": 0.5, "1.": 1.0,
    "true": True, "False": False, "~": None, "null": None, "": None, ".inf": float("inf"), "-.inf": float("-inf"),
    "'5'": "5", "a: b": {"a": "b"}, "<<: a": {"<<": "a"}, "=": "=", "infinity": "infinity", "nan": "nan",
    "1.2.3": "1.2.3",
}  # fmt: skip


@pytest.mark.parametrize("text", SCALARS)
def test_scalars_are_those_of_yaml_1_2(text):
    found = parse_yaml(text)
    assert (found, type(found)) == (SCALARS[text], type(SCALARS[text]))


BAD = {
    "a: !!int x": "line 1: not YAML (tags (!) are not read",
    "a: !!timestamp x": "tags (!)", "a: !!python/object:os.system x": "tags (!)", "!!set {a}": "tags (!)",
    "!own {a: 1}": "tags (!)",
    "a: &x [*x]": "line 1: not YAML (aliases (*) are not read; write it out)",
    "a: &x 1\nb: *x": "line 2: not YAML (aliases",
    "a: 1\nb: 2\na: 3": "line 3: not YAML ('a' comes twice)",
    "[1]: 2": "line 1: not YAML ([1] cannot be a key)",
    f"seed: {'9' * 5001}": "99999999999999999999... has 5,001 digits",
    "[" * 3000: "not YAML (nested too deeply)",
    "{a: " * 3000: "not YAML (nested too deeply)",
    "a: [": "not YAML (", "a: b: c": "not YAML (", "\ta: 1": "not YAML (", "a\x00": "not YAML (",
    "--- a\n--- b": "not YAML (",
    "%YAML 9.0\n--- a": "not YAML (",
    "- epochs": "not settings; write one `key: value` a line", "epochs": "not settings", "3": "not settings",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:20]))
def test_what_cannot_be_built_is_one_line_that_names_the_file(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(tmp_path / "a.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'a.yaml'}")
    assert BAD[text] in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_file_says_nothing(tmp_path):
    for text in ("", "# a comment\n", "---\n", "null"):
        (tmp_path / "a.yaml").write_text(text)
        assert read_yaml(tmp_path / "a.yaml") == {}


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"a: \xff")
    (tmp_path / "big.yaml").write_bytes(b"#" * (LARGEST + 1))
    os.mkfifo(tmp_path / "pipe")
    for path, expected in (
        ("a.yaml", "byte 3 is not UTF-8"), ("none.yaml", "no such file"), (".", "not a file"), ("pipe", "not a file"),
        ("big.yaml", "not a file with settings"), ("x" * 300, "cannot be read (File name too long)"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            read_yaml(tmp_path / path)
        assert expected in str(error.value)


@given(st.text(st.characters(codec="utf-8")) | st.text("[]{}:,&*!|>'\"%@`-?# \nab1."))
def test_any_text_is_read_or_refused(text):
    message = "not YAML ("
    try:
        parse_yaml(text)
    except ValueError as error:
        message = str(error)
    assert "not YAML (" in message
