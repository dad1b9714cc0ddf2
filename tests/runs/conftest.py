"""Toy towers kept as folders, pictures in class folders and with captions, and a cache of each test's own."""

import pytest
from bits import photos, towers


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """`llm` and `cnn`: toy towers; `photos`: a folder a colour; `captions`: the same pictures with captions."""
    place = tmp_path_factory.mktemp("place")
    photos(place / "photos")
    towers(place)
    return place


@pytest.fixture(autouse=True)
def own_cache(cache):
    """Of each test."""
