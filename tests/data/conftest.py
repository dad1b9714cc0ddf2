"""Folders of small pictures, and what was told."""

import pytest
from miniatures import Root
from PIL import Image
from toy_data import PLACES, png


@pytest.fixture
def folder(tmp_path):
    """`images/0.png` to `images/2.png`, in `COLOURS`; a list is to lie beside them."""
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(number))
    return tmp_path


@pytest.fixture
def animals(tmp_path):
    """`PLACES`, in a folder per class; what is hidden and what is no picture among them."""
    for place in [*PLACES, "cat/.hidden.png", ".git/1.png"]:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / place)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.fixture
def root(tmp_path) -> Root:
    """A folder `d` that is empty."""
    return Root(tmp_path / "d")


@pytest.fixture
def messages(capsys):
    """What was told since it was asked last."""
    return lambda: capsys.readouterr().err
