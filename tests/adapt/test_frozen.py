"""What a frozen image tower makes of pictures, kept."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from toy_encoders import toy_encoder

from polyprompt.adapt.frozen import ImageStates
from polyprompt.data.items import Picture


@pytest.fixture(scope="module")
def pictures():
    """Of noise, so that no two of them are alike."""
    return [Picture(str(number), lambda number=number: noise(number)) for number in range(20)]


def noise(seed: int) -> bytes:
    """A PNG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("block", [0, None])
def test_what_is_kept_does_not_depend_on_what_was_missing_with_it(pictures, block, environ, tmp_path):
    encoder = toy_encoder("clip")
    environ(POLYPROMPT_CACHE=tmp_path / "whole")
    whole = ImageStates(encoder, pictures, block, 1.0).read(range(20))
    environ(POLYPROMPT_CACHE=tmp_path / "parts")
    for at in (0, 1, 3, 9):
        ImageStates(encoder, pictures[: at + 1], block, 1.0)
    assert torch.equal(ImageStates(encoder, pictures, block, 1.0).read(range(20)), whole)
