"""Whether an image processor of transformers makes the pixels that `Preprocess` makes, tried on one picture.

A config can hold settings that are not read here (`keep_aspect_ratio`, `do_flip_channel_order`), and a class can do
what no setting says. So it is not believed but tried, on colourful noise that is higher than wide, where half a pixel
changes everything.
"""

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.towers.pretrained import reason
from polyprompt.values import Foreign

TOLERANCE = 1e-3
"""Largest difference, relative to the largest number; theirs and ours are rounded alike, and 1e-6 is usual."""


def check_same_pixels(processor: Foreign, preprocess: Preprocess, unread: str, patch: int | None = None) -> None:
    """Compares the two on a test picture.

    Args:
        processor: theirs.
        preprocess: ours, made from its settings.
        unread: those of its settings that were not read, to be named.
        patch: pixels along a patch's side, where theirs gives patches in a row (NaFlex); the test picture is square.

    Raises:
        TowerError: other pixels; in one line, by how much.
    """
    width, height = (37, 37) if patch else (37, 53)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    theirs, ours = _theirs(processor, picture, preprocess.size, patch), preprocess(picture)
    what = ""
    if theirs.shape != ours.shape:
        found, wanted = ("x".join(map(str, shape[1:])) for shape in (theirs.shape, ours.shape))
        what = f"{found} pixels of a picture of {height}x{width}; only those of {wanted} are used here"
    elif not (difference := (theirs - ours).abs().max()) <= TOLERANCE * ours.abs().max():
        what = f"other pixels than are made here of its settings (by up to {difference:.2g})"
    if what:
        also = f"; not read: {unread}" if unread else ""
        raise TowerError(f"preprocessor_config.json: {type(processor).__name__} makes {what}{also}")


def _theirs(processor: Foreign, picture: Image.Image, size: int, patch: int | None) -> Float[Tensor, "c height width"]:
    options = {"max_num_patches": (size // patch) ** 2} if patch else {}
    try:
        pixels = torch.as_tensor(np.asarray(processor(picture, **options)["pixel_values"][0])).float()
        if patch:
            pixels = pixels.unflatten(1, (patch, patch, 3)).unflatten(0, (size // patch, -1))
            pixels = pixels.permute(4, 0, 2, 1, 3).flatten(3).flatten(1, 2)
        return pixels
    except Exception as error:  # depends on what the config says
        kind = type(processor).__name__
        raise TowerError(f"preprocessor_config.json: {kind} fails on a picture ({reason(error)})") from None
