"""What the catalogue's layouts share: files of lines, places tried in order, folders of ids and numbers."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.data import ImageNetInfo

from polyprompt.data.files import Places
from polyprompt.data.layouts import (
    imagenet_names,
    lines_of,
    numbered_folders,
    numbered_lines,
    semeval,
    subset,
    tab_separated,
    video_of,
    wnid_folders,
)
from polyprompt.errors import DataError

TABLE = "task\tsplit\tscore\tsentence1\tsentence2\nsts12\ttest\t4.5\ta dog\ta hound\nsts13\t\t0\tx\ty\n"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="\ufeff"))))
def test_lines_are_counted_with_the_empty_ones(tmp_path_factory, lines):
    file = tmp_path_factory.getbasetemp() / "lines.txt"
    file.write_bytes("\r\n".join(f" {line}\t" for line in lines).encode("utf-8-sig"))
    kept = [(number, line) for number, line in zip(range(1, len(lines) + 1), lines, strict=True) if line]
    assert numbered_lines(file) == kept
    assert lines_of(file) == [line for _, line in kept]


def test_files_that_cannot_be_read_and_lines_that_are_too_short(root):
    root.file("latin.txt", "caf\xe9".encode("latin-1")).file("short.txt", "a\tb\n\nc\n")
    for file, words in (
        ("none.txt", "none.txt: no such file$"),
        ("latin.txt", "latin.txt: byte 3 is not UTF-8; save it as UTF-8$"),
        (".", r"d: cannot be read \(Is a directory\)$"),
        ("short.txt", "^short.txt, line 3: 1 fields, needs 2 with tabs between them$"),
    ):
        with pytest.raises(DataError, match=words):
            list(tab_separated(root.path / file, 2))
    root.file("short.txt", '"a\tb"\tc\n')
    assert list(tab_separated(root.path / "short.txt", 2)) == [("short.txt, line 1", ['"a', 'b"', "c"])]


def test_a_clip_is_found_with_and_without_its_ending(root):
    root.file("videos/a.webm", b"webm").file("videos/b.avi", b"avi").file("videos/b.mp4", b"mp4").file("c", b"whole")
    places = Places(root.path / "list.json", "videos")
    for name, key, data in (
        ("a", "a", b"webm"),
        ("a.webm", "a.webm", b"webm"),
        ("b", "b", b"mp4"),
        ("c", "c", b"whole"),
    ):
        clip = video_of(places, name)
        assert clip is not None
        assert (clip.key, clip.read()) == (key, data)
    assert getattr(video_of(places, "b", "ret0"), "key", None) == "ret0"
    assert video_of(places, "d") is None


def test_ids_are_timms_in_the_order_of_all():
    info = ImageNetInfo()
    assert list(imagenet_names()) == info.label_names()
    for letter in "ar":
        ids = subset(f"imagenet_{letter}_synsets.txt")()
        assert list(ids) == [wnid for wnid in info.label_names() if wnid in set(ids)]  # in the order of all 1,000
        assert len(set(ids)) == len(ids) == 200


def test_labels_of_ids_are_places_in_the_sets_own_order(root, messages):
    root.pictures("a/n02/1.jpg", "a/n01/1.jpg", "b/n03/x/1.jpg", "b/n09/1.jpg", "classes/old/1.jpg")
    lines = "".join(f"{wnid} {name}\n" for wnid, name in imagenet_names().items()) + "n01 one\nn02 two\nn03 three\n"
    root.file("classnames.txt", lines)
    rows = wnid_folders({"train": ["none", "a"], "test": ["b"]}, lambda: ["n03", "n01", "n02"])
    found = [(row.split, row.key, row.label, row.class_name) for row in rows(root.path, "", None)]
    train = [("train", "a/n01/1.jpg", 0, "one"), ("train", "a/n02/1.jpg", 1, "two")]
    assert found == [*train, ("test", "b/n03/x/1.jpg", 2, "three")]
    assert [row.split for row in rows(root.path, "", "test")] == ["test"]
    assert "b: left out 1 folder that are no classes of this set (n09)" in messages()


def test_folders_of_numbers_end_at_999(root, messages):
    root.pictures(*(f"val/{name}/1.jpg" for name in ("10", "9", "999", "1000", "x")))
    names = list(imagenet_names().values())
    found = {(row.label, row.class_name) for row in numbered_folders("test", "val")(root.path, "", None)}
    assert found == {(number, names[number]) for number in (9, 10, 999)}
    assert "left out 2 folders that are no classes of this set" in messages()


def test_a_task_of_a_table_of_several(root):
    root.file("sts_suite.tsv", TABLE)
    for task in ("sts12", "sts13", "sts14"):
        found = [(one.first, one.second, one.score, one.split) for one in semeval(task, "files")(root.path, "", None)]
        lines = [line for line in csv.DictReader(TABLE.splitlines(), delimiter="\t") if line["task"] == task]
        expected = [(x["sentence1"], x["sentence2"], float(x["score"]), x["split"] or None) for x in lines]
        assert found == expected


def test_semevals_files_that_are_not_whole(root):
    rows = semeval("sts12", "files")
    root.file("files/other.txt", "")
    with pytest.raises(DataError, match=r"files: no STS.input.\*.txt in it, and no sts_suite.tsv in .*d$"):
        list(rows(root.path, "", None))
    root.file("files/STS.input.a.txt", "a dog\ta cat\nno tab\n")
    with pytest.raises(DataError, match=r"STS.gs.a.txt: no such file"):
        list(rows(root.path, "", None))
    for scores, words in (
        ("1\n2\n", "line 2: no tab between the sentences"),
        ("one\n2\n", "line 1: the score is 'one'"),
    ):
        root.file("files/STS.gs.a.txt", scores)
        with pytest.raises(DataError, match=f"^STS.input.a.txt, {words}"):
            list(rows(root.path, "", None))
