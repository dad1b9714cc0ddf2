"""Toy towers kept as folders, coloured pictures with captions, and a command run as the shell would run it."""

import csv
import os
import shutil
import subprocess
import sys

import av
import golden_cases as golden
import numpy as np
import pytest
import timm
import torch
from golden_cases import Case
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf
from toy_decoders import toy_decoder

from polyprompt.cli.main import main

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}


@pytest.fixture(scope="session")
def place(tmp_path_factory, toy_tokenizer):
    """Toy towers, `llm` and `cnn`, and `photos`: a folder of coloured squares with captions and splits."""
    place = tmp_path_factory.mktemp("place")
    toy_decoder("llama").save_pretrained(place / "llm")
    toy_tokenizer.save_pretrained(place / "llm")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_efficientnet", pretrained=False), place / "cnn", safe_serialization=True)
    (place / "photos").mkdir()
    draw = np.random.default_rng(0)
    with open(place / "photos" / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "caption", "split"])
        for i in range(24):
            name = list(COLOURS)[i % 4]
            noise = draw.integers(-20, 20, (32, 32, 3))
            pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "photos" / f"{i}.png")
            table.writerow([f"{i}.png", f"a {name} square", ["train", "train", "dev", "test"][i // 4 % 4]])
    return place


def moving(path, shades):
    """A video of one colour that brightens, a frame for each shade."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for colour in shades:
            pixels = np.broadcast_to(np.array(colour, np.uint8), (32, 32, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def films(photos):
    """The pictures, and four videos of the training set and one of each other that belong to them."""
    with open(photos / "captions.csv", "a", newline="") as file:
        table = csv.writer(file)
        for i, split in enumerate(["train"] * 4 + ["dev", "test"]):
            name = list(COLOURS)[i % 4]
            moving(photos / f"film{i}.mp4", [tuple(c * s // 10 for c in COLOURS[name]) for s in range(1, 11)])
            table.writerow([f"film{i}.mp4", f"a {name} square that grows light", split])
    return photos


@pytest.fixture
def photos(place, tmp_path):
    """The folder of pictures, to be spoilt."""
    return shutil.copytree(place / "photos", tmp_path / "photos")


@pytest.fixture(scope="session")
def toy(place):
    """The words that align the toy towers on a folder: K = 3, D = 24, two epochs."""

    def words(photos=place / "photos"):
        return [
            photos, "--text-tower", place / "llm", "--image-tower", place / "cnn", "--text-prompts", 3, "--dim", 24,
            "--epochs", 2, "--batch", 4, "--precision", "fp32", "--set", "image.width=32",
        ]  # fmt: skip

    return words


@pytest.fixture(scope="session")
def maple():
    """The authors' own run of MaPLe on a toy CLIP, with a checkpoint."""
    both = set(golden.names()) & set(golden.checkpoints())
    return next(Case(name) for name in sorted(both) if Case(name).facts["trainer"] == "MaPLe")


@pytest.fixture(scope="session")
def clip(maple, tmp_path_factory):
    """The toy CLIP in OpenAI's own layout, in a file."""
    file = tmp_path_factory.mktemp("clip") / "toy.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in maple.state.items()}, file)
    return file


@pytest.fixture
def program(tmp_path):
    """Starts a command as a process of its own; what is started is ended with the test."""
    started = []

    def start(*words, **environment):
        environment = {"POLYPROMPT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"} | environment
        started.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "polyprompt",
                    *(word if isinstance(word, bytes) else str(word) for word in words),
                ],
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="surrogateescape",
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def polyprompt(environ, typed, capsys, tmp_path):
    """Runs a command as the shell would: its exit code, and what it printed on both streams."""

    def run(*words, cache=tmp_path / "cache"):
        environ(POLYPROMPT_CACHE=cache)
        typed(*words)
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Six noisy squares of each of four colours, in a folder per colour."""
    folder = tmp_path_factory.mktemp("squares")
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(6):
            pixels = np.clip(np.array(colour) + draw.integers(-60, 60, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def adapt(polyprompt, squares, clip):
    """`adapt` with settings for a few seconds."""

    def run(*words, method="maple", images=squares, depth=2):
        own = ["--set", f"method.depth={depth}"] if method == "maple" else []
        quick = ["--shots", 2, "--epochs", 2, "--set", "batch=4", "--set", "precision=fp32"]
        return polyprompt("adapt", images, "--method", method, "--encoder", clip, *quick, *own, *words)

    return run
