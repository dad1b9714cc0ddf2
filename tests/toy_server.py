"""What the server's tests serve: coloured squares, and toy models to embed them."""

import base64
import io

import numpy as np
from PIL import Image
from toy_encoders import NAMES, toy_encoder, toy_model

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.methods import bmip
from polyprompt.search.models import AdaptedEmbedder, AlignedEmbedder, PlainEmbedder

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}


def embedder(family):
    """A toy run of align, a toy CLIP, or one that BMIP changed, whose gates see what pictures attend to."""
    if family == "campe":
        return AlignedEmbedder(toy_model(), "run")
    if family == "clip":
        return PlainEmbedder(toy_encoder("clip"), "clip")
    method = build(bmip.Config(depth=3, words="a photo"), toy_encoder("clip"), NAMES, seed=1)
    for gate in method.adapter.image_gates:
        gate.weight.data.fill_(40.0)  # attention is a small number
    return AdaptedEmbedder(Classifier(method), "bmip")


def write_photos(folder):
    """Twelve coloured squares, each a little different."""
    draw = np.random.default_rng(0)
    for number in range(12):
        name = list(COLOURS)[number % 4]
        pixels = np.clip(np.array(COLOURS[name]) + draw.integers(-20, 20, (32, 32, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}-{number}.png")


def uri(picture):
    """A file, or a PIL picture, as a data URI."""
    if isinstance(picture, Image.Image):
        data = io.BytesIO()
        picture.save(data, "PNG")
        picture = data.getvalue()
    else:
        picture = picture.read_bytes()
    return "data:image/png;base64," + base64.b64encode(picture).decode()
