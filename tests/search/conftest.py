"""Pictures of noise, and a collection of them."""

import pytest
from toy_search import ToyModel, picture

from polyprompt.search.candidates import in_folder
from polyprompt.search.fill import index


@pytest.fixture
def model():
    return ToyModel()


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures in three folders."""
    for i in range(12):
        picture(tmp_path / "photos" / "abc"[i % 3] / f"{i}.png", i)
    return tmp_path / "photos"


@pytest.fixture
def fill(model, photos, tmp_path):
    def again(root=photos, model=model, out=tmp_path / "collection"):
        return index(model, in_folder(root), str(root), out)

    return again


@pytest.fixture
def filled(fill, tmp_path):
    fill()
    return tmp_path / "collection"
