"""JSON files as the type that they should be."""

import pytest
from pydantic import BaseModel

from polyprompt.errors import FileError
from polyprompt.report.checked import read_checked


class Scores(BaseModel):
    """Something to read."""

    accuracy: float
    classes: dict[str, int] = {}


def test_what_fits_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"accuracy": 0.5, "classes": {"cat": 3}}')
    assert read_checked(Scores, tmp_path / "a.json") == Scores(accuracy=0.5, classes={"cat": 3})
    assert read_checked(dict[str, object], tmp_path / "a.json")["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "damaged or foreign"),
        ('{"classes": {}}', "accuracy: Field required"),
        ('{"accuracy": "high"}', "accuracy: "),
        ('{"accuracy": 1, "classes": {"cat": "many"}}', r"classes\.cat: "),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FileError, match=rf"a\.json: .*{message}") as found:
        read_checked(Scores, tmp_path / "a.json")
    assert "\n" not in str(found.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileError, match=r"b\.json: cannot be read"):
        read_checked(Scores, tmp_path / "b.json")
