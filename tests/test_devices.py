"""On a device that is not the processor every tensor is on it: methods and towers, without a GPU (elsewhere.py)."""

import numpy as np
import pytest
import timm
import torch
from elsewhere import Elsewhere, WrongDeviceError, pretending
from PIL import Image
from test_contract import PER_PICTURE, VARIANTS, labels, pictures
from toy_decoders import FAMILIES as DECODERS
from toy_decoders import tokenizer, toy_decoder
from toy_encoders import FAMILIES, NAMES, toy_encoder

from polyprompt import methods
from polyprompt.adapt.engine import build
from polyprompt.campe.config import ModelSettings
from polyprompt.campe.model import CAMPE
from polyprompt.campe.objective import Batch, Objective
from polyprompt.nn.tree import sequences
from polyprompt.runs.saved import load_adapter, save
from polyprompt.settings import checked
from polyprompt.towers.llm import LLM
from polyprompt.towers.timm import TimmTower

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
FITTED = {"linear_probe": {"atol": 1e-2, "rtol": 1e-2}}
"""Where a solver ends follows from the last digits that it is given."""


def made(variant, family, device):
    """A method on an encoder that is there, which has seen its training pictures."""
    name, settings, *extra = VARIANTS[variant]
    encoder = toy_encoder(family).to(device)
    method = build(methods.config_of(name)(**settings), encoder, NAMES, seed=1, extra=extra)
    vectors = method.see(pictures(method)).images
    method.adapter.fit(vectors[None], labels(len(vectors)).to(device))
    return method


def numbers(tensor):
    """On the processor, whatever they are now."""
    return tensor.detach().cpu()


def learns_and_predicts(variant, family, device, folder) -> dict[str, torch.Tensor]:
    """A step of training, and all that is asked of a method afterwards; what came of it, on the processor."""
    method = made(variant, family, device)
    view, target = method.see(pictures(method)), labels().to(device)
    found = {"before": method.logits(view), "loss": method.losses(view, target)["loss"]}
    if learned := list(method.learned().values()):
        found["loss"].backward()
        found |= {f"gradient of {name}": parameter.grad for name, parameter in method.learned().items()}
        torch.optim.AdamW(learned, lr=0.01, eps=1.0).step()
        method.epoch_end(1, 1)
    method.eval()
    with torch.no_grad():
        found |= {"after": method(pictures(method)), "images": method.image_features(view)}
        if variant not in PER_PICTURE:
            found["head"] = method.head()(pictures(method).to(device))
            method.adapter.tune(view.images, target, method.class_features(view), float(method.scale))
        save(method, folder / device.type)
        opened = load_adapter(folder / device.type, method.encoder)
        found |= {"tuned": method.logits(view), "opened": opened.logits(opened.see(pictures(method)))}
        with torch.autocast(device.type, torch.bfloat16):
            method.logits(view)
    assert {tensor.device.type for tensor in found.values()} == {device.type}
    return {name: numbers(tensor) for name, tensor in found.items()}


def same_there(variant, family, folder):
    here = learns_and_predicts(variant, family, torch.device("cpu"), folder)
    with pretending() as device:
        there = learns_and_predicts(variant, family, device, folder)
    torch.testing.assert_close(there, here, **FITTED.get(variant, CLOSE))


@pytest.mark.parametrize("family", ["clip", "campe"])
@pytest.mark.parametrize("variant", ["coop", "maple", "tip_adapter"])
def test_a_few_methods_are_the_same_elsewhere(variant, family, tmp_path):
    same_there(variant, family, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_method_is_the_same_elsewhere(variant, family, tmp_path):
    same_there(variant, family, tmp_path)


# CAMPE

TEXTS = ["two dogs play in the snow", "a cat", "a red car on a road"]
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
KINDS = {
    "late": {},
    "words, negated": {"text.adaptive": "words", "loss.negation": 0.5, "loss.diversity": 0.1},
    "input": {"text.adaptive": "input"},
    "lora": {"text.lora": 2},
    "own norm": {"text.norm": "own"},  # a fitted one divides by 0 where a decoder's window ends before the caption
    "mean": {"text.readout": "mean"},
    "last": {"text.readout": "last"},
    "sigmoid": {"loss.contrast": "sigmoid", "loss.diversity": 0.1, "loss.diversity_of": "readouts"},
}


def toy_campe(decoder: str, trunk: str, **settings) -> CAMPE:
    values: dict = {"dim": 12, "text": {"prompts": 3}, "image": {"width": 16}, "loss": {}}
    for key, value in settings.items():
        above, last = key.split(".")
        values[above][last] = value
    llm = LLM(toy_decoder(decoder), tokenizer(), "toy")
    torch.manual_seed(1)
    if trunk == "cnn":
        tower = TimmTower(timm.create_model("test_efficientnet", pretrained=False), name="cnn", fingerprint="toy")
    else:
        values["image"]["trained_blocks"] = 1
        vit = timm.create_model("vit_tiny_patch16_224", **VIT)
        tower = TimmTower(vit, name="vit", trained_blocks=1, fingerprint="toy")
    return CAMPE(checked(ModelSettings, values), llm, tower)


def aligned(model: CAMPE, device: torch.device) -> dict[str, torch.Tensor]:
    """A step of training on pixels, one on kept states, and what the model encodes afterwards."""
    model.to(device)
    draw = np.random.default_rng(0)
    pictures = [Image.fromarray(draw.integers(0, 255, (40, 50, 3), dtype=np.uint8)) for _ in TEXTS]
    ids, _ = model.text.llm.tokens(TEXTS, 64)
    pixels = torch.stack([model.preprocess(picture) for picture in pictures])
    batch = Batch(sequences(ids, model.text.tree), None, None, pixels).to(device)
    model.text.fit_norm(batch.captions)
    task, found = Objective(model), {}
    losses = task.train()(batch)
    losses["loss"].backward()
    found |= {f"gradient of {name}": one.grad for name, one in model.named_parameters() if one.grad is not None}
    torch.optim.AdamW((one for one in model.parameters() if one.requires_grad), lr=0.01, eps=1.0).step()
    model.eval()
    with torch.no_grad():
        losses |= {"kept": task(Batch(batch.captions, None, model.image.frozen_tokens(batch.pixels), None))["loss"]}
    found |= losses | {"texts": model.encode_text(TEXTS), "images": model.encode_image(pictures)}
    found |= {"attention": model.attention(pictures), "similarity": model.similarity(TEXTS, pictures)}
    assert {tensor.device.type for tensor in found.values()} == {device.type}
    return {name: numbers(tensor) for name, tensor in found.items()}


def campe_is_the_same_there(decoder, trunk, kind):
    here = aligned(toy_campe(decoder, trunk, **KINDS[kind]), torch.device("cpu"))
    with pretending() as device:
        there = aligned(toy_campe(decoder, trunk, **KINDS[kind]), device)
    assert len(here) > 12
    torch.testing.assert_close(there, here, **CLOSE)


@pytest.mark.parametrize(("trunk", "kind"), [("cnn", "late"), ("vit", "words, negated")])
def test_campes_towers_are_the_same_elsewhere(trunk, kind):
    campe_is_the_same_there("llama", trunk, kind)


@pytest.mark.slow
@pytest.mark.parametrize("trunk", ["cnn", "vit"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_train_campe_is_the_same_elsewhere(trunk, kind):
    campe_is_the_same_there("llama", trunk, kind)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_campe_on_every_decoder_is_the_same_elsewhere(decoder):
    campe_is_the_same_there(decoder, "cnn", "own norm")


def test_an_encoder_encodes_elsewhere():
    pictures = [Image.new("RGB", (40, 50), colour) for colour in ("red", "blue")]

    def encoded(device):
        encoder = toy_encoder("siglip").to(device)
        return encoder.encode_image(pictures), encoder.encode_text(["a cat", "two big dogs"])

    here = encoded("cpu")
    with pretending() as device:
        there = encoded(device)
        assert {one.device for one in there} == {device}
        torch.testing.assert_close([numbers(one) for one in there], list(here), **CLOSE)


# The device itself


def test_tensors_of_two_devices_are_refused():
    with pretending() as device:
        there = torch.ones(2, 3, device=device, requires_grad=True)
        for wrong in (lambda: there + torch.ones(3), lambda: torch.cat([there, torch.ones(1, 3)])):
            with pytest.raises(WrongDeviceError, match="on the processor, the others are elsewhere"):
                wrong()
        (there * torch.tensor(2.0)).sum().backward()
        assert isinstance(there.grad, Elsewhere)
        assert torch.equal(there.grad.cpu(), torch.full((2, 3), 2.0))
        assert (there > 0).nonzero().device == device
