"""What is made of arguments that several commands have: class names, and what a run is called."""

import os
from pathlib import Path

import pytest
import typer

from polyprompt.cli.app import app
from polyprompt.cli.arguments import MAY_BE_EMPTY, names, run_name, whole
from polyprompt.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ([], None),
        (["cat,dog"], ["cat", "dog"]),
        (["cat, dog ,otter"], ["cat", "dog", "otter"]),
        (['"tench, Tinca tinca",goldfish'], ["tench, Tinca tinca", "goldfish"]),
        (['goldfish, "tench, Tinca tinca"'], ["goldfish", "tench, Tinca tinca"]),
        (['"tench, Tinca tinca"', "goldfish"], ["tench, Tinca tinca", "goldfish"]),
        (['"a ""big"" cat",dog'], ['a "big" cat', "dog"]),
        (["cat,,dog"], ["cat", "", "dog"]),  # told by whoever makes a prompt of it
        (["Hund,猫"], ["Hund", "猫"]),
    ],
)
def test_class_names_are_read_as_csv(given, expected):
    assert names(given) == expected


def test_class_names_come_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("tench, Tinca tinca\n\n goldfish \r\nchien\n", encoding="utf-8")
    assert names([f"@{path}", "otter"]) == ["tench, Tinca tinca", "goldfish", "chien", "otter"]


def test_class_names_that_cannot_be(tmp_path):
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\ntea\r\n")  # as Windows saves it
    assert names([f"@{tmp_path / 'marked.txt'}"]) == ["café", "tea"]
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    os.mkfifo(tmp_path / "pipe")
    for given, expected in (
        (f"@{tmp_path / 'pipe'}", "cannot be read (not a regular file)"),
        (f"@{tmp_path / 'none.txt'}", "cannot be read (No such file or directory)"),
        (f"@{tmp_path}", "cannot be read (Is a directory)"),
        (f"@{tmp_path / 'latin.txt'}", "byte 3 is not UTF-8"),
        ('"tench, Tinca', 'write cat,dog,"tench, Tinca tinca"'),
        ("['cat', 'dog']", "write cat,dog with neither [ ] nor ' '"),
        ("'cat','dog'", "is written as in Python"),
        ("caf\udce9,tea", "letter 4 is not UTF-8, or half a character"),
    ):
        with pytest.raises(ConfigError) as error:
            names([given])
        assert expected in str(error.value)
        assert str(error.value).startswith("--classes ")


def test_a_text_is_whole_or_refused():
    assert whole("a sad 🐈", "the text") == "a sad 🐈"
    with pytest.raises(ConfigError, match="the text 'a \\\\ud800': letter 3 is not UTF-8"):
        whole("a \ud800", "the text")


def test_a_run_is_called_as_its_folder(tmp_path, cd):
    assert run_name(Path("runs/pets/")) == "pets"
    cd(tmp_path)
    assert run_name(Path()) == tmp_path.name
    assert run_name(Path("/")) == "run"
    assert run_name(Path(os.fsdecode(b"caf\xe9"))) == "caf\\xe9"


def commands():
    for name, command in typer.main.get_command(app).commands.items():
        for inner, one in getattr(command, "commands", {"": command}).items():
            yield f"{name} {inner}".strip(), one


TAKEN = [
    pytest.param(command, one, id=f"{name} {one.name}")
    for name, command in commands()
    for one in command.params
    if not getattr(one, "is_flag", False) and one.name not in MAY_BE_EMPTY
]


@pytest.mark.parametrize(("command", "emptied"), TAKEN)
def test_an_empty_text_is_one_line_that_names_what_it_was_given_for(command, emptied):
    """`--out "$OUT"`, where there is no such variable, must not write into the current folder."""
    words = []
    for one in command.params:
        if one is emptied or one.required:
            words += [*(one.opts[:1] if one.param_type_name == "option" else []), "" if one is emptied else "x"]
    with pytest.raises(
        ConfigError, match=r"^\S+ is empty; give a value\. Is it a variable that is not set\?$"
    ) as error:
        command.main(words, standalone_mode=False)
    said = str(error.value).split()[0]
    assert said == emptied.opts[0] if emptied.param_type_name == "option" else said.isupper()


def test_no_name_of_a_file_of_classes():
    with pytest.raises(ConfigError, match="--classes @ names no file; write @FILE"):
        names(["@"])
