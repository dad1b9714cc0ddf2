"""ONNX files against PyTorch, run by onnxruntime; what stands in their metadata; bad input."""

import itertools
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from test_contract import PER_PICTURE, QUICK, SMALL, trainable
from toy_encoders import FAMILIES, NAMES, toy_encoder, toy_images

from polyprompt import methods
from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError, FileError
from polyprompt.media.pictures import Preprocess
from polyprompt.skins.onnx import LARGEST, export_onnx

SIDEWAYS = ("bmip", "clip_lora", "coprompt", "fusion", "ivlp", "maple", "mma", "mmap", "mmrl", "promptsrc", "vpt")
"""Methods that change the image tower, and so none that is a CNN."""
CASES = [
    *(
        pytest.param(
            family,
            name,
            SMALL[name],
            id=f"{family}, {name}",
            marks=() if family == "clip" and name in QUICK else pytest.mark.slow,
        )
        for family, name in itertools.product(FAMILIES, SMALL)
        if name not in PER_PICTURE
    ),
    *(
        pytest.param(
            "resnet", name, SMALL[name], id=f"resnet, {name}", marks=() if name == "zeroshot" else pytest.mark.slow
        )
        for name in SMALL
        if name not in (*PER_PICTURE, *SIDEWAYS)
    ),
    pytest.param(
        "siglip",
        "ivlp",
        {"text_depth": 1, "image_depth": 2, "words": "", "image_start": 1},
        id="siglip, ivlp from block 1 on",
        marks=pytest.mark.slow,
    ),
]
"""Every method on every family, 7 minutes; only those that are quick on the first are in the quick tests."""


def classifier(family: str, name: str, settings: dict) -> Classifier:
    """A method away from its start, at which some change nothing."""
    method = trainable(build(methods.config_of(name)(**settings), toy_encoder(family), NAMES, seed=1))
    draw = torch.Generator().manual_seed(0)
    for parameter in method.learned().values():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=draw)
    return Classifier(method)


pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(("family", "name", "settings"), CASES)
def test_it_equals_pytorch_for_any_number_of_pictures(family, name, settings, tmp_path):
    made = classifier(family, name, settings)
    export_onnx(made, tmp_path / "toy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "toy.onnx", providers=["CPUExecutionProvider"])
    pixels = toy_images(5, size=made.preprocess.size)
    for count in (1, 2, 5):
        part = pixels[:count]
        logits, probabilities = session.run(["logits", "probabilities"], {"pixels": part.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(logits, made.method(part).numpy(), atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(probabilities, made(part).numpy(), atol=1e-4)
    if learned := made.method.learned():  # which go on learning as before
        made.method.train()
        made.method.losses(made.method.see(pixels), torch.arange(5) % 4)["loss"].backward()
        assert all(parameter.grad is not None for parameter in learned.values())


def test_the_file_alone_classifies_a_picture(tmp_path):
    """With what its metadata say, and nothing else of the classifier."""
    made = classifier("clip", "coop", {"context": 2})
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))
    export_onnx(made, tmp_path / "toy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "toy.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["class_names"]) == list(NAMES)
    assert (facts["method"], facts["encoder"]) == ("coop", "toy-clip")
    assert facts["encoder_fingerprint"] == made.method.encoder.fingerprint
    pixels = Preprocess.from_json(json.loads(facts["preprocess"]))(picture)
    _, probabilities = session.run(None, {"pixels": pixels[None].numpy()})
    np.testing.assert_allclose(probabilities, made([picture]).numpy(), atol=1e-4)
    onnx.checker.check_model(str(tmp_path / "toy.onnx"), full_check=True)


@pytest.mark.parametrize("family", [*FAMILIES, "resnet"])
@pytest.mark.parametrize("name", [name for name in PER_PICTURE if name in SMALL])
def test_class_vectors_that_depend_on_the_picture_cannot_be_frozen(family, name, tmp_path):
    made = classifier(family, name, SMALL[name])
    with pytest.raises(ConfigError, match=r"cocoop: its class vectors depend on the picture.*hold for all pictures"):
        export_onnx(made, tmp_path / "toy.onnx")
    assert not (tmp_path / "toy.onnx").exists()


@pytest.mark.parametrize("name", SIDEWAYS)
def test_a_method_that_a_cnn_does_not_take_says_so_before_there_is_anything_to_write(name):
    with pytest.raises(ConfigError, match="is convolutional and has no tokens"):
        classifier("resnet", name, SMALL[name])


def test_a_file_in_the_way_and_one_too_large(tmp_path):
    made = classifier("clip", "zeroshot", {})
    (tmp_path / "toy.onnx").write_text("mine")
    with pytest.raises(FileError, match=r"toy\.onnx: exists already"):
        export_onnx(made, tmp_path / "toy.onnx")
    assert (tmp_path / "toy.onnx").read_text() == "mine"
    made.method.encoder.image.register_buffer("more", torch.zeros(1).expand(LARGEST // 4))  # one number in memory
    with pytest.raises(FileError, match=r"an ONNX file at most"):
        export_onnx(made, tmp_path / "other.onnx")
