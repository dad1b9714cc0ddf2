"""A small deterministic model with the public verbs of an aligned one, generated pictures, and run folders."""

import hashlib
import io
import json
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from toy_grid import few_shot

from polyprompt.data.items import Pairs, Picture
from polyprompt.media.pictures import Preprocess
from polyprompt.runs.cells import write_result

COLOURS = ["red", "green", "blue", "white"]


class ToyModel:
    """Words and mean colours drawn at random, once and for all; its attention follows a colour channel each."""

    prompts = ("the subject of the image means:", "the scene of the image means:", "the colour of the image means:")
    preprocess = Preprocess(size=24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), crop=0.75)

    def encode_text(self, texts):
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [torch.randn(12, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return F.normalize(torch.stack(rows), dim=-1)

    def encode_image(self, images):
        pixels = torch.stack([self.preprocess(image) for image in images])
        return F.normalize(F.adaptive_avg_pool2d(pixels, 2).flatten(1), dim=-1)

    def attention(self, images):
        pixels = torch.stack([self.preprocess(image) for image in images])
        return F.adaptive_avg_pool2d(pixels, (3, 4)).flatten(2).softmax(-1).unflatten(2, (3, 4))


def jpeg_of(index):
    """A picture of bands of colour; each index gives another one."""
    picture = Image.new("RGB", (40 + index, 32), COLOURS[index % 4])
    picture.paste(COLOURS[(index + 1 + index // 4) % 4], (4 + index, 0, 18, 32))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def toy_model():
    return ToyModel()


@pytest.fixture
def toy_pairs():
    pictures = tuple(Picture(f"picture {i}.png", partial(jpeg_of, i)) for i in range(9))
    captions = tuple(f"caption {c} of {i}" for i in range(9) for c in "ab")
    return Pairs("toy set", pictures, captions, tuple(i for i in range(9) for _ in "ab"))


def found(t2i, i2t, aspects=True):
    return {
        "text_to_image": {"recall@1": t2i, "recall@5": min(1, 2 * t2i), "recall@10": min(1, 3 * t2i)},
        "image_to_text": {"recall@1": i2t, "recall@5": min(1, 2 * i2t), "recall@10": min(1, 3 * i2t)},
        "images": 400,
        "captions": 2000,
        "aspects": {"centred_cosine": 0.125, "redundancy": 0.5} if aspects else {},
    }


@pytest.fixture
def make_run(tmp_path):
    """make_run("k6", seed=1, t2i=0.3, ...) writes a run folder as training does, and gives its path."""

    def make(name, seed=0, t2i=0.25, i2t=0.3, config=None, finished=True):
        folder = tmp_path / f"{name}-seed{seed}"
        folder.mkdir()
        config = {"name": folder.name, "seed": seed, "model": name} | (config or {})
        (folder / "config.json").write_text(json.dumps(config))
        lines = []
        for step in range(1, 41):
            terms = {"contrast": 3 / step, "diversity": 0.5 / step, "negation": 0.7}
            rate = 1e-3 * math.cos(step / 40)
            lines.append({"step": step, "epoch": step // 20, "loss": sum(terms.values()), **terms, "lr": rate})
            if step % 20 == 0:
                dev = found(t2i * step / 40, i2t * step / 40)
                lines.append({"epoch": step // 20, "step": step, "dev": dev})
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if finished:
            results = {
                "kind": "align",
                "name": folder.name,
                "command": f"polyprompt align 'toy|set' --seed {seed}",
                "config": config,
                "seed": seed,
                "versions": {"torch": "9.9.9"},
                "machine": "two slow cores",
                "date": "2026-01-31",
                "seconds": 754.0,
                "retrieval": {"toy set": found(t2i, i2t)},
                "cost": {"parameters": {"trained": 1234567}},
            }
            (folder / "results.json").write_text(json.dumps(results))
        return folder

    return make


def classified(cats, dogs):
    """Two classes, a hundred pictures each; None of one that has none."""
    known = [share for share in (cats, dogs) if share is not None]
    return {
        "accuracy": sum(known) / len(known),
        "macro_f1": sum(known) / len(known) / 1.25,
        "calibration_error": 0.125,
        "pictures": 100 * len(known),
        "classes": 2,
        "class_accuracy": {"cat": cats, "dog": dogs},
    }


@pytest.fixture
def make_adapt_run(make_run):
    """make_adapt_run("maple", base=(0.75, 0.5), novel=(0.25, 0.5)): the shares are those of cats and dogs."""

    def make(name, seed=0, base=(0.75, 0.5), novel=None):
        folder = make_run(name, seed)
        results = json.loads((folder / "results.json").read_text())
        del results["retrieval"], results["cost"]
        results |= {"kind": "adapt", "learned": 4096, "classification": {"base": classified(*base)}}
        if novel:
            results["classification"]["novel"] = classified(*novel)
            results["harmonic_mean"] = 0.5
        (folder / "results.json").write_text(json.dumps(results))
        return folder

    return make


@pytest.fixture
def grid_folder(tmp_path):
    """A grid's folder with the results of `few_shot`."""
    (tmp_path / "cells").mkdir()
    for one in few_shot():
        write_result(tmp_path / "cells" / f"{one.cell.name}.json", one)
    return tmp_path
