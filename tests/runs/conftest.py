"""Toy towers kept as folders, pictures in class folders and with captions, and a cache of each test's own."""

import bits
import pytest
from toy_adapt import squares
from toy_encoders import toy_encoder


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """`llm` and `cnn`: toy towers; `photos`: a folder a colour; `captions`: the same pictures with captions."""
    place = tmp_path_factory.mktemp("place")
    bits.photos(place / "photos")
    bits.towers(place)
    return place


@pytest.fixture(autouse=True)
def own_cache(cache):
    """Of each test."""


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Eight noisy squares of each of four colours, in a folder per colour."""
    return squares(tmp_path_factory.mktemp("squares") / "photos")


@pytest.fixture(scope="module")
def encoder():
    return toy_encoder("clip")
