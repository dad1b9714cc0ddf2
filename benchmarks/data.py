"""How much of their time steps wait for pictures: 224-pixel JPEGs, decoded, cropped and made into tensors.

    python benchmarks/data.py             all
    python benchmarks/data.py encode      a folder through the image tower, decoded beside the computing
    python benchmarks/data.py train       steps of `adapt --set augment=true`, a random crop of each picture anew

The encoder is open_clip's ViT-B/16 with random weights, the method MaPLe as published; no time depends on the weights.
Waiting is the time that passes until a batch is there once it is asked for.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from measure import seconds, write
from open_clip import create_model
from PIL import Image
from safetensors.torch import save_file

from polyprompt.disk.files import read_json
from polyprompt.nn.memory import keep_memory
from polyprompt.runs import training
from polyprompt.runs.adapt import adapt
from polyprompt.runs.load import load_encoder
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import checked
from polyprompt.towers import encoder as encoders
from polyprompt.towers.encoder import Encoder

CLASSES, EACH, SHOTS = 8, 24, 16


class Waiting:
    """Seconds that callers waited."""

    total = 0.0

    def function(self, call: Callable) -> Callable:
        """The same function, its time counted."""

        def timed(*arguments, **named):
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.total += time.perf_counter() - start

        return timed

    def iterator(self, make: Callable[..., Iterator]) -> Callable[..., Iterator]:
        """The same iterator, the time until each item counted."""

        def timed(*arguments, **named):
            step = self.function(next)
            items = make(*arguments, **named)
            while (item := step(items, None)) is not None:
                yield item

        return timed


def pictures(place: Path) -> Path:
    """Smooth noise of 224 pixels with as many bytes as photographs, a folder a class."""
    draw = np.random.default_rng(0)
    for number in range(CLASSES):
        folder = place / "pictures" / f"kind {number}"
        folder.mkdir(parents=True)
        for i in range(EACH):
            coarse = Image.fromarray(draw.integers(0, 256, (28, 28, 3), dtype=np.uint8)).resize((224, 224))
            fine = draw.integers(-12, 13, (224, 224, 3))
            pixels = np.clip(np.asarray(coarse).astype(int) + fine, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)
    return place / "pictures"


def opened(place: Path) -> Encoder:
    """OpenAI's layout, random numbers."""
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    file = place / "encoder.safetensors"
    save_file({k: v.contiguous() for k, v in create_model("ViT-B-16-quickgelu").state_dict().items()}, file)
    return load_encoder(str(file))


def encode(encoder: Encoder, data: Path, place: Path) -> tuple[float, float]:
    """Seconds in all, and of them waiting."""
    waiting, plain = Waiting(), encoders.made_ahead
    paths = sorted(data.rglob("*.jpg"))
    encoders.made_ahead = waiting.iterator(plain)
    try:
        return seconds(lambda: encoder.encode_image(paths)), waiting.total
    finally:
        encoders.made_ahead = plain


def train(encoder: Encoder, data: Path, place: Path) -> tuple[float, float]:
    """The same of an epoch."""
    waiting, plain = Waiting(), training._fetched
    given = {
        "data": str(data),
        "encoder": encoder.name,
        "method": "maple",
        "shots": SHOTS,
        "epochs": 1,
        "augment": True,
    }
    training._fetched = waiting.function(plain)
    try:
        with tempfile.TemporaryDirectory(dir=place) as out:
            adapt(checked(AdaptSettings, given), Path(out) / "run", encoder=encoder)
            return read_json(Path(out) / "run" / "results.json")["training_seconds"], waiting.total
    finally:
        training._fetched = plain


SIDES = {"encode": encode, "train": train}
CLAIM = "steps wait for 224-pixel JPEGs less than 10 % of their time"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", nargs="*", default=[*SIDES])
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    keep_memory()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        encoder, data = opened(place), pictures(place)
        for what in asked.what:
            if what not in SIDES:
                options.error(f"{what!r}: choose from {', '.join(SIDES)}")
            SIDES[what](encoder, data, place)  # warms up
            found = [SIDES[what](encoder, data, place) for _ in range(asked.rounds)]
            row = {
                "pictures": CLASSES * (EACH if what == "encode" else SHOTS),
                "seconds": [whole for whole, _ in found],
                "waiting_seconds": [waited for _, waited in found],
                "share": [waited / whole for whole, waited in found],
            }
            write(f"data-{what}", {"claim": CLAIM, "found": [row]})


if __name__ == "__main__":
    main()
