"""Pictures that a user names: found, opened some at a time, left out where they cannot be read."""

import pytest
from miniatures import Root

from polyprompt.cli.pictures import BATCH, max_bad_advice, opened, pictures_of
from polyprompt.data.items import Picture
from polyprompt.errors import DataError, ImageError


def pictures(count, bad=()):
    def read(number):
        if number in bad:
            raise ImageError(str(number), "not a picture")
        return number

    return [Picture(str(number), bytes) for number in range(count)], lambda picture: read(int(picture.key))


def test_a_folder_a_table_and_class_folders(tmp_path):
    root = Root(tmp_path / "d").pictures("a/1.png", "b/2.png", "b/c/3.png")
    found = pictures_of(str(root.path))
    assert [picture.key for picture in found] == [str(root.path / name) for name in ("a/1.png", "b/2.png", "b/c/3.png")]
    root.file("captions.csv", "file,caption\nb/2.png,x\na/1.png,y\nb/2.png,z\n")
    found = pictures_of(str(root.path / "captions.csv"))
    assert [picture.key for picture in found] == ["b/2.png", "a/1.png"]  # each once
    assert found[0].open().size == (3, 2)


def test_some_at_a_time_in_order():
    some, read = pictures(2 * BATCH + 3)
    parts = [(len(part), seen) for part, seen in opened(some, 0, read)]
    assert [count for count, _ in parts] == [BATCH, BATCH, 3]
    assert [number for _, seen in parts for number in seen] == list(range(2 * BATCH + 3))


def test_what_cannot_be_read_is_left_out_up_to_a_limit(capsys):
    some, read = pictures(BATCH + 2, bad=(1, BATCH))
    parts = list(opened(some, 2, read))
    numbers = [number for _, seen in parts for number in seen]
    assert numbers == [number for number in range(BATCH + 2) if number not in (1, BATCH)]
    assert [picture.key for part, _ in parts for picture in part] == list(map(str, numbers))
    assert capsys.readouterr().err.count("left out, ") == 2
    with pytest.raises(DataError, match="2 pictures cannot be read, and 1 may be left out"):
        list(opened(some, 1, read))


def test_the_only_picture_says_what_is_wrong_with_it():
    some, read = pictures(1, bad=(0,))
    with pytest.raises(ImageError, match="not a picture"):
        list(opened(some, 9, read))
    advice = r"0: not a picture\. Mend it .* leave up to ten such out with --max-bad 10\."
    with pytest.raises(DataError, match=advice), max_bad_advice():
        list(opened(some, 9, read))
