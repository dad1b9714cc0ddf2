"""A toy CLIP in a file, pictures in class folders with and without splits, and workers that run in this process."""

import shutil

import golden_cases as golden
import pytest
from bits import photos
from golden_cases import Case
from safetensors.torch import save_file

from polyprompt.bench import grid
from polyprompt.bench.settings import GridSettings
from polyprompt.settings import checked


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """`toy.safetensors`; `plain`, a folder a class; `split`, the same in train and test."""
    place = tmp_path_factory.mktemp("place")
    case = Case(next(name for name in sorted(golden.checkpoints()) if name in golden.names()))
    save_file({name: tensor.contiguous() for name, tensor in case.state.items()}, place / "toy.safetensors")
    photos(place / "plain")
    for split in ("train", "test"):
        shutil.copytree(place / "plain", place / "split" / split)
    return place


@pytest.fixture(autouse=True)
def own_cache(cache):
    """Of each test."""


@pytest.fixture
def here(monkeypatch):
    """Workers of a grid run in this process."""
    monkeypatch.setattr(grid, "start", lambda executor, workers, job, folder, watch: job(folder))


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
