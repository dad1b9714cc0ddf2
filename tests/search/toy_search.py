"""A model that embeds pictures of noise, and a plain list of what it finds."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from polyprompt.media.pictures import Preprocess, open_picture


class ToyModel:
    """A picture's row is its pixels, a text's is drawn by its letters; two aspects."""

    name, prompts, frames = "toy", ("colour", "form"), 2
    precision = "fp32"

    def __init__(self, seed: int = 0) -> None:
        self.fingerprint, self.calls = f"toy {seed}", 0
        self.map = torch.randn(3 * 4 * 4, 8, generator=torch.Generator().manual_seed(seed))
        self.preprocess = Preprocess(4, (0.5,) * 3, (0.5,) * 3)

    def images(self, pixels):
        self.calls += len(pixels)
        return F.normalize(pixels.flatten(1) @ self.map, dim=-1)

    def texts(self, texts):
        draws = [torch.Generator().manual_seed(sum(text.encode())) for text in texts]
        return F.normalize(torch.stack([torch.randn(8, generator=draw) for draw in draws]), dim=-1)


def picture(path: Path, seed: int, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


def plain(model, photos, texts, top=99):
    """Every picture and its cosine with the first text, best first."""
    files = sorted(photos.rglob("*.png"))
    rows = model.images(torch.stack([model.preprocess(open_picture(file)) for file in files]))
    scores = (rows @ model.texts(texts)[0]).tolist()
    names = [str(file.relative_to(photos)) for file in files]
    return sorted(zip(names, scores, strict=True), key=lambda one: -one[1])[:top]


def paths(hits):
    return [str(file.facts["path"]) for hit in hits for file in hit.files]
