"""A toy CLIP in a file, pictures in class folders with and without splits."""

import shutil

import pytest
from bits import photos
from golden_cases import write_clip

from polyprompt.bench.settings import GridSettings
from polyprompt.settings import checked


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """`toy.safetensors`; `plain`, a folder a class; `split`, the same in train and test."""
    place = tmp_path_factory.mktemp("place")
    write_clip(place / "toy.safetensors")
    photos(place / "plain")
    for split in ("train", "test"):
        shutil.copytree(place / "plain", place / "split" / split)
    return place


@pytest.fixture(autouse=True)
def own_cache(cache):
    """Of each test."""


@pytest.fixture
def settings(place):
    """Makes the settings of a grid on the toy CLIP."""

    def make(protocol, *, data=("split",), **values):
        given = {
            "protocol": protocol,
            "data": [str(place / one) for one in data],
            "encoders": [str(place / "toy.safetensors")],
        }
        return checked(GridSettings, given | values)

    return make
