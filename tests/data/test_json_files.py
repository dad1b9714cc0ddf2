"""JSON that is something else is refused in one line."""

import pytest
from toy_data import one_line

from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.errors import DataError


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": {}}', "[" * 100_000])
def test_a_json_of_another_kind_is_refused(folder, text):
    (folder / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x.json: ") as caught:
        read_pairs(str(folder / "x.json"))
    assert one_line(caught)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"train": 3, "x": [[[1]]]}', "[1, 2]", '{"train": [["a.png", 0, "\\ud800"]]}']
)
def test_json_that_is_something_else_gives_one_line(root, text):
    root.pictures("a.png").file("split_x.json", text)
    for source in (root.path, root.path / "split_x.json"):
        with pytest.raises(DataError, match=r"split_x.json|no labels"):
            read_labelled(str(source), "train")


def test_a_key_that_stands_twice_is_refused(root):
    root.pictures("1.png").file("captions.jsonl", '{"file": "1.png", "caption": "x", "caption": "y"}\n')
    with pytest.raises(
        DataError, match=r"captions.jsonl, line 1: 'caption' stands twice in one object; take out"
    ) as told:
        read_pairs(str(root.path))
    assert one_line(told)
    root.file("x.json", '{"images": [{"filename": "1.png", "sentences": [{"raw": "a", "raw": "b"}]}]}')
    with pytest.raises(DataError, match=r"x.json: 'raw' stands twice in one object"):
        read_pairs(str(root.path / "x.json"))
