"""A toy encoder, and squares of four colours."""

import pytest
from toy_adapt import squares
from toy_encoders import toy_encoder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Eight noisy squares of each of four colours, in a folder per colour."""
    return squares(tmp_path_factory.mktemp("squares") / "photos")


@pytest.fixture(scope="module")
def encoder():
    return toy_encoder("clip")
