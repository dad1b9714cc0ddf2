"""Coloured pictures in memory and on disk; caches in a folder of their own."""

import numpy as np
import pytest
from PIL import Image
from toy_run import align_toys

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}


@pytest.fixture(autouse=True)
def own_cache(cache):
    """Of each test."""


@pytest.fixture(scope="session")
def squares():
    """Six noisy squares of each of three colours, and their names, class by class in turn."""
    draw = np.random.default_rng(0)
    arrays, names = [], []
    for i in range(18):
        name = list(COLOURS)[i % 3]
        arrays.append(np.clip(np.array(COLOURS[name]) + draw.integers(-60, 60, (20, 24, 3)), 0, 255).astype(np.uint8))
        names.append(name)
    return arrays, names


@pytest.fixture(scope="session")
def files(squares, tmp_path_factory):
    """Paths of the same pictures, losslessly."""
    folder = tmp_path_factory.mktemp("squares")
    paths = []
    for i, array in enumerate(squares[0]):
        paths.append(folder / f"{i}.png")
        Image.fromarray(array).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def aligned(tmp_path_factory):
    """A folder with a saved model in `run`, its toy towers, and captioned pictures (toy_run.py)."""
    place = tmp_path_factory.mktemp("aligned")
    align_toys(place)
    return place


@pytest.fixture
def toy_run_of(tmp_path):
    """Builds such a run with other settings of the text side."""
    return lambda **text: align_toys(tmp_path / "other", **text)
