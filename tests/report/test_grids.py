import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from polyprompt.errors import FileError
from polyprompt.report import grids
from polyprompt.report.grids import Hit, fitted, font, grid, write_png

RED, GREEN = (255, 0, 0), (0, 128, 0)


def count(image, colour):
    return int((np.asarray(image) == colour).all(-1).sum())


def test_every_result_is_there_whole_and_in_its_shape():
    wide, tall = Image.new("RGB", (400, 100), RED), Image.new("RGB", (50, 100), GREEN)
    drawn = grid(
        [("a cat", [Hit(wide, 0.5, "wide.png"), Hit(tall, 0.25, "tall.png")]), ("a dog", [Hit(wide, 0.1, "w")])]
    )
    side = grids.SIDE
    assert count(drawn, RED) == 2 * side * side // 4
    assert count(drawn, GREEN) == side * side // 2


def test_more_results_than_columns_go_on_below():
    hits = [Hit(Image.new("RGB", (10, 10), RED), 0.5, str(i)) for i in range(7)]
    one, two = grid([("a cat", hits[:3])], columns=3), grid([("a cat", hits)], columns=3)
    assert one.width == two.width
    assert two.height > 2 * one.height
    assert count(two, RED) == 7 * grids.SIDE**2


def test_a_search_without_results_says_so():
    nothing, something = grid([("a cat", [])]), grid([("a cat", [Hit(Image.new("RGB", (9, 9)), 0.5, "x")])])
    assert nothing.height < something.height


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200), st.integers(40, 400))
@settings(max_examples=50, deadline=None)
def test_text_fits_whatever_it_holds(text, width):
    line = fitted(text, 14, width)
    whole = " ".join(text.split())
    assert font(14).getlength(line) <= width
    assert line == whole or (line.endswith("…") and whole.startswith(line[:-1]))


def test_short_text_stays_as_it_is():
    assert fitted("a  sad\tcat\n\x08", 14, 300) == "a sad cat"


def test_png_is_written_and_other_names_are_refused(tmp_path):
    image = Image.new("RGB", (5, 4), RED)
    write_png(tmp_path / "out.png", image)
    with Image.open(tmp_path / "out.png") as again:
        assert again.format == "PNG"
        assert again.convert("RGB").tobytes() == image.tobytes()
    with pytest.raises(FileError, match=r"out\.jpg: pictures are written as PNG"):
        write_png(tmp_path / "out.jpg", image)
    with pytest.raises(FileError, match="cannot be written"):
        write_png(tmp_path / "no" / "such" / "out.png", image)


def test_a_text_of_a_megabyte_is_cut_to_the_width():
    assert fitted("a" * 1_000_000, 13, 200).endswith("…")
