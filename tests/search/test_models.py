"""Whatever gives rows: an aligned run, an encoder of the zoo, an adapted one, with the rows that each has itself."""

import pytest
import torch
from toy_encoders import NAMES, toy_encoder, toy_images

from polyprompt.adapt.classifier import Classifier
from polyprompt.adapt.engine import build
from polyprompt.errors import ConfigError, DataError, DependsOnPicturesError, UnknownNameError
from polyprompt.methods import config_of
from polyprompt.search.models import AdaptedEmbedder, PlainEmbedder, is_of_the_zoo, open_model


def adapted(method: str, **settings) -> Classifier:
    method = build(config_of(method)(**settings), toy_encoder("clip"), NAMES, seed=1)
    for parameter in method.learned().values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    return Classifier(method)


@pytest.mark.parametrize(("method", "settings"), [("maple", {"context": 2, "depth": 2}), ("clip_lora", {})])
def test_an_adapted_encoder_scores_as_its_classifier(method, settings):
    classifier = adapted(method, **settings)
    model = AdaptedEmbedder(classifier, "run")
    pixels = toy_images(5)
    images, texts = model.images(pixels), model.texts(["a zebra", "horse"])
    torch.testing.assert_close(images.norm(dim=1), torch.ones(5))
    logits = classifier.for_classes(["a zebra", "horse"]).method(pixels)
    torch.testing.assert_close(classifier.method.scale * images @ texts.T, logits, rtol=1e-4, atol=1e-4)
    asked = [*NAMES, "horse"]  # what was learned, too
    torch.testing.assert_close(model.texts(asked)[-1], texts[1], rtol=1e-4, atol=1e-5)
    assert model.fingerprint != AdaptedEmbedder(adapted("coop", context=2), "run").fingerprint
    assert model.fingerprint == AdaptedEmbedder(adapted(method, **settings), "elsewhere").fingerprint


def test_a_method_of_its_classes_alone_finds_them():
    model = AdaptedEmbedder(adapted("taskres"), "run")
    expected = torch.nn.functional.normalize(model.method.head().classes, dim=1)
    torch.testing.assert_close(model.texts(list(NAMES)), expected.detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="'a whale'"):
        model.texts(["a whale"])


def test_methods_without_one_row_a_picture_are_refused():
    with pytest.raises(DependsOnPicturesError, match="its class vectors depend on the picture"):
        AdaptedEmbedder(adapted("cocoop", context=1), "run")
    with pytest.raises(ConfigError, match="mmrl scores pictures in a way of its own"):
        AdaptedEmbedder(adapted("mmrl", layers=(2, 3), tokens=2, space=8), "run")


def test_aligned_and_plain_encoders_give_their_own_rows():
    encoder = toy_encoder("siglip")
    model = PlainEmbedder(encoder, "toy")
    assert torch.equal(model.images(toy_images(3)), encoder.encode_image(toy_images(3)))
    assert torch.equal(model.texts(["a"]), encoder.encode_text(["a"]))
    assert (model.prompts, model.frames) == ((), 8)
    campe = toy_encoder("campe")
    assert torch.equal(
        PlainEmbedder(campe, "x").images(toy_images(2, size=64)), campe.encode_image(toy_images(2, size=64))
    )


def test_what_a_name_is(tmp_path):
    assert is_of_the_zoo("ViT-B-16/openai")
    assert not is_of_the_zoo(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert is_of_the_zoo(str(tmp_path))
    (tmp_path / "config.json").write_text('{"format": "polyprompt-campe-1"}')
    assert not is_of_the_zoo(str(tmp_path))


def test_a_towers_dtype_is_handed_on():
    with pytest.raises(UnknownNameError, match="tower dtype is called 'fp8'"):
        open_model("RN50/openai", tower_dtype="fp8")
