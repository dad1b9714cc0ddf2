"""A grid against separate commands; what a cell costs beside its work; deciding what is left of a large grid.

    python benchmarks/grid.py            all
    python benchmarks/grid.py commands   3 methods x 3 seeds, two workers, against nine `polyprompt adapt`

Pictures are drawn from a seed, the encoder is open_clip's ViT-B-32 with random weights: no time depends on either. Each
side has a cache of its own, empty at first and then as it left it. Both have to give the same accuracies: nearly so, as
a worker that has one thread of two adds up in another order. The grid also makes seven cells of anchors.
"""

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import seconds, write
from open_clip import create_model
from PIL import Image
from safetensors.torch import save_file

from polyprompt.bench import worker
from polyprompt.bench.plan import write_plan
from polyprompt.disk.files import read_json
from polyprompt.runs.cells import CELLS, Cell, done_in, results_in

CLASSES, TRAIN, TEST, SHOTS, EPOCHS = 10, 16, 40, 16, 5
METHODS, SEEDS = ("coop", "clip_adapter", "taskres"), (1, 2, 3)
DIFFER = 0.05
"""How far two accuracies may lie apart: 20 of 400 pictures of noise, many on the edge between two classes."""


def encoder(place: Path) -> Path:
    """OpenAI's layout, random numbers."""
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    file = place / "encoder.safetensors"
    save_file({k: v.contiguous() for k, v in create_model("ViT-B-32-quickgelu").state_dict().items()}, file)
    return file


def pictures(place: Path) -> Path:
    """Noise in class folders, in train and test."""
    draw = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("test", TEST)):
        for number in range(CLASSES):
            folder = place / "pictures" / split / f"kind {number}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(0, 256, (64, 64, 3)) // 2 + 12 * number
                Image.fromarray(pixels.astype(np.uint8)).resize((256, 256)).save(folder / f"{i}.jpg")
    return place / "pictures"


def polyprompt(*words: object, cache: Path) -> None:
    """A command, as the shell runs it."""
    environment = os.environ | {"POLYPROMPT_CACHE": str(cache)}
    subprocess.run([sys.executable, "-m", "polyprompt", *map(str, words)], check=True, env=environment, stdout=2)


def commands(rounds: int) -> list[dict]:
    """One `polyprompt run` with two workers, and nine `polyprompt adapt` one after the other."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        file, data = encoder(place), pictures(place)
        grid = ["run", "few-shot", "--methods", ",".join(METHODS), "--data", data, "--encoders", file]
        grid += ["--seeds", ",".join(map(str, SEEDS)), "--shots", SHOTS, "--set", f"epochs={EPOCHS}", "--workers", 2]

        def ours(out: Path) -> None:
            polyprompt(*grid, "--out", out / "grid", cache=out.parent / "grid-cache")

        def theirs(out: Path) -> None:
            for method in METHODS:
                for seed in SEEDS:
                    words = ["adapt", data, "--method", method, "--encoder", file, "--shots", SHOTS, "--seed", seed]
                    words += ["--epochs", EPOCHS, "--out", out / f"{method}-{seed}"]
                    polyprompt(*words, cache=out.parent / "adapt-cache")

        times: dict[str, dict[str, list[float]]] = {}
        differ = 0.0
        for number in range(rounds):
            for caches in ("empty caches", "filled caches"):
                out = place / f"round{number}" / caches
                for side in (ours, theirs)[:: 1 if number % 2 == 0 else -1]:
                    spent = times.setdefault(caches, {"ours": [], "theirs": []})[side.__name__]
                    spent.append(seconds(lambda side=side, out=out: side(out)))
                differ = max(differ, *differences(out))
        assert differ <= DIFFER, differ
        for caches, spent in times.items():
            ratios = [b / a for a, b in zip(spent["ours"], spent["theirs"], strict=True)]
            time = {"seconds": spent, "ratio": statistics.median(ratios), "ratios": ratios}
            found.append(
                {"caches": caches, "cells": len(METHODS) * len(SEEDS), "largest_difference": differ, "time": time}
            )
    return found


def differences(out: Path) -> list[float]:
    """Between the accuracies of a grid and of the commands beside it."""
    return [
        abs(accuracy(one.figures) - accuracy(read_json(out / f"{one.cell.method}-{one.cell.seed}" / "results.json")))
        for one in results_in(out / "grid")
        if one.cell.method in METHODS
    ]


def accuracy(figures: Mapping[str, Any]) -> float:
    """Of the test pictures."""
    return figures["classification"]["test"]["accuracy"]


def toy_cells(count: int) -> list[Cell]:
    """Cells that do nothing, with settings as large as real ones."""
    settings = {f"setting {i}": i for i in range(40)}
    same = {"protocol": "few-shot", "task": "nothing", "method": "none", "encoder": "", "data": ""}
    return [Cell(**same, seed=seed, settings=settings | {"encoder": "", "seed": seed}) for seed in range(count)]


def overhead(rounds: int) -> list[dict]:
    """Claim, log, result and all else around the work of a cell."""
    worker.TASKS = {"nothing": lambda cell, encoder, folder: {}}
    worker.load_encoder = lambda name: None
    times = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            plan = write_plan(Path(folder), toy_cells(100))
            times.append(seconds(lambda plan=plan: worker.work(plan)) / 100)
    return [{"cells": 100, "seconds_a_cell": times}]


def deciding(rounds: int) -> list[dict]:
    """Names of 10,000 cells, of which half have results, and the plan of the others written down."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / CELLS).mkdir()
        for cell in toy_cells(5000):
            (place / CELLS / f"{cell.name}.json").touch()

        def decide() -> None:
            cells = toy_cells(10_000)
            done = done_in(place)
            left = [cell for cell in cells if cell.name not in done]
            assert len(left) == 5000
            write_plan(place, left)

        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            decide()
            times.append(time.perf_counter() - start)
        return [{"cells": 10_000, "done": 5000, "seconds": times}]


CLAIMS: dict[str, tuple[str, Callable[[int], list[dict]]]] = {
    "commands": ("3 methods x 3 seeds with two workers against nine `adapt`: >= 3 times", commands),
    "overhead": ("what a cell costs beside its work: <= 50 ms", overhead),
    "deciding": ("deciding what is left of a grid of 10,000 cells: <= 1 s", deciding),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", nargs="*", default=[*CLAIMS])
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    for what in asked.what:
        if what not in CLAIMS:
            options.error(f"{what!r}: choose from {', '.join(CLAIMS)}")
        claim, measure = CLAIMS[what]
        write(f"grid-{what}", {"claim": claim, "found": measure(asked.rounds)})


if __name__ == "__main__":
    main()
