"""What is told: once a source, with a number and an example."""

import pytest

from polyprompt.data.messages import count, say_once, some


def test_a_line_is_said_once_a_source(tmp_path, capsys):
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    for place, line in ((here, "a"), (here, "a"), (here, "b"), (there, "a")):
        say_once(place, line)
    assert capsys.readouterr().err == "polyprompt: a\npolyprompt: b\npolyprompt: a\n"


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (1, ("picture",), "1 picture"),
        (0, ("picture",), "0 pictures"),
        (2000, ("class is", "classes are"), "2,000 classes are"),
        (1, ("class is", "classes are"), "1 class is"),
    ],
)
def test_numbers_go_with_their_things(number, words, text):
    assert count(number, *words) == text


def test_of_many_names_a_few_are_shown():
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some([str(i) for i in range(1503)]) == "0, 1, 2 and 1,500 more"
    assert some(["a", "b"], 1) == "a and 1 more"
