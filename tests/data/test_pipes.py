"""A pipe or a device with the name of a list is refused in one line; nobody waits at it."""

import os

import pytest
from toy_data import one_line

from polyprompt.data.layouts import numbered_lines, semeval
from polyprompt.data.names import read_class_list
from polyprompt.data.read import read_labelled, read_pairs
from polyprompt.errors import DataError

LISTS = ("captions_x.json", "dataset_x.json", "split_zhou_x.json", "x.token.txt")


@pytest.fixture(params=["pipe", "device"])
def put(request):
    """Puts a thing that nobody writes to, or that has no end, at a path."""

    def put(path):
        if request.param == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        return path

    return put


@pytest.mark.parametrize("name", [*LISTS, "x.tar", "x.csv", "x.tsv", "x.jsonl", "captions.json", "x.token"])
def test_as_a_source(folder, put, name):
    with pytest.raises(DataError, match=rf"{name}: cannot be read \(not a regular file\)") as caught:
        read_pairs(str(put(folder / name)))
    assert one_line(caught)


@pytest.mark.parametrize("name", LISTS)
def test_in_a_folder(folder, put, name, messages):
    put(folder / name)
    with pytest.raises(DataError) as caught:
        (read_labelled if name.startswith("split") else read_pairs)(str(folder))
    assert one_line(caught)
    assert f"{name}: cannot be read (not a regular file)" in f"{messages()}{caught.value}"


def test_as_a_list_of_a_published_set(folder, put):
    with pytest.raises(DataError, match="not a regular file"):
        numbered_lines(put(folder / "train_list.txt"))
    with pytest.raises(DataError, match="not a regular file"):
        read_class_list(put(folder / "classnames.txt"))
    (folder / "STS.input.a.txt").write_text("one\ttwo\n")
    put(folder / "STS.gs.a.txt")
    with pytest.raises(DataError, match="not a regular file"):
        list(semeval("sts12", "x")(folder, "", None))
