"""Pictures that are missing or cannot be read are listed, and left out up to a limit."""

import pytest
from toy_data import by_key, one_line, png, table

from polyprompt.data.read import read_pairs
from polyprompt.errors import BadPicturesError, ImageError


def test_bad_pictures_are_listed_and_skipped_up_to_a_limit(folder, capsys):
    (folder / "images" / "1.png").write_bytes(png(1)[:40])
    source = table(folder, "file,caption\n0.png,a\n1.png,b\n7.png,c\n2.png,d\n7.png,e\n1.png,f\n")
    pairs = read_pairs(source, max_bad=2)
    assert by_key(pairs) == {"0.png": ["a"], "2.png": ["d"]}
    assert len(pairs.skipped) == 2
    assert pairs.skipped[0] == "captions.csv, line 4: no picture '7.png'"
    assert pairs.skipped[1].startswith("1.png: ")
    message = capsys.readouterr().err
    assert [f"left out, {line}\n" in message for line in pairs.skipped] == [True, True]
    with pytest.raises(BadPicturesError, match=r"no picture '7.png' \(and 1 more\)") as caught:
        read_pairs(source, max_bad=1)
    assert one_line(caught)
    assert caught.value.lines == pairs.skipped


def test_without_a_limit_a_bad_picture_raises_when_it_is_opened(folder):
    (folder / "images" / "1.png").write_bytes(b"")
    pairs = read_pairs(table(folder, "file,caption\n0.png,a\n1.png,b\n"))
    with pytest.raises(ImageError, match=r"^1.png: the file is empty"):
        pairs.images[1].open()
