"""Runs of adapt on a toy encoder and on squares of four colours; one to be started in processes of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from toy_encoders import toy_encoder

from polyprompt.runs.adapt import adapt
from polyprompt.runs.settings import AdaptSettings

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}
EACH = 8
"""Squares of each."""
MAPLE = {"name": "maple", "depth": 2, "words": "a photo"}
QUICK = {"epochs": 3, "batch": 4, "rate": 0.01, "shots": 3, "precision": "fp32"}


def run(out: Path, images: Path, family: str = "clip", resume: bool = False, **settings) -> None:
    torch.set_num_threads(1)
    adapt(
        AdaptSettings(**{"data": str(images), "encoder": "toy"} | QUICK | settings),
        out,
        resume=resume,
        encoder=toy_encoder(family),
    )


def squares(folder: Path) -> Path:
    """Eight noisy squares of each of four colours, in a folder per colour."""
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(EACH):
            pixels = np.clip(np.array(colour) + draw.integers(-60, 60, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def quick(photos: Path, method: str | dict[str, Any] = MAPLE, **settings) -> AdaptSettings:
    return AdaptSettings(**{"data": str(photos), "encoder": "toy-clip", "method": method} | QUICK | settings)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def flat(drawn: dict[str, list[str]]) -> list[str]:
    return [key for keys in drawn.values() for key in keys]


def looking(encoder, look: Callable[[torch.Tensor], object]):
    """The encoder; `look` is called with all pixels that its image tower sees."""
    encoder.image.conv1.register_forward_hook(lambda _, given, __: look(given[0]))
    return encoder
