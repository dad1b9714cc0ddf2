"""Each part of a tower, changed alone: the fingerprint moves, no kept row is used, no adapter opens."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from toy_decoders import tokenizer, toy_decoder
from toy_encoders import toy_encoder, toy_images

from polyprompt.adapt import view
from polyprompt.adapt.frozen import TOGETHER, ImageStates
from polyprompt.adapt.view import FrozenText
from polyprompt.campe.cache import TextStates
from polyprompt.data.items import Picture
from polyprompt.errors import FileError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.tree import Branch, grow
from polyprompt.runs.adapt import adapt
from polyprompt.runs.saved import load_adapter
from polyprompt.runs.settings import AdaptSettings
from polyprompt.towers import timm as image_towers
from polyprompt.towers.clip import PLAIN
from polyprompt.towers.fingerprint import EXACT, tensor_said
from polyprompt.towers.llm import LLM, fingerprint
from polyprompt.towers.transformer import gelu_tanh
from polyprompt.towers.words import Words

FAMILIES = ("clip", "siglip", "resnet")
Change = Callable[[], None]

pytestmark = pytest.mark.usefixtures("cache")


# What can be changed


def other(value):
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * 2 + 1
        case str():
            return value + "x"
        case tuple() if value:
            return (other(value[0]), *value[1:])
        case Preprocess() | Words():
            pytest.fail("changed field by field")
        case _ if callable(value):
            return gelu_tanh


def other_preprocess(preprocess: Preprocess) -> Iterator[tuple[str, Preprocess]]:
    values = {"interpolation": "nearest", "resize": "squash", "crop": 0.5, "rules": "transformers"}
    for field in fields(preprocess):
        value = values.get(field.name) or other(getattr(preprocess, field.name))
        yield field.name, replace(preprocess, **{field.name: value})


def other_words(words: Words) -> Iterator[tuple[str, Words]]:
    for name in ("start", "end", "pad", "vocabulary"):
        value = getattr(words, name)
        yield name, replace(words, **{name: (*value, 3) if isinstance(value, tuple) else value + 1})
    yield "encode", replace(words, encode=lambda text: words.encode(text.lower()))


def settings_of(module: nn.Module) -> Iterator[tuple[str, Change]]:
    """Every plain setting of every module, with what changes it."""
    for name, part in module.named_modules():
        known = vars(part).keys() - EXACT
        if not type(part).__module__.startswith("polyprompt."):
            known = known & {"eps", "stride", "padding", "dilation", "approximate", "num_heads", "output_size"}
        for key in sorted(known):
            value = vars(part)[key]
            one_by_one = {Preprocess: other_preprocess, Words: other_words}.get(type(value))
            if one_by_one:
                for field, new in one_by_one(value):
                    yield f"{name}.{key}.{field}", partial(setattr, part, key, new)
            elif isinstance(value, bool | int | float | str | tuple) or callable(value):
                yield f"{name}.{key}", partial(setattr, part, key, other(value))


def changed_encoder(family: str, data: st.DataObject):
    """A toy encoder with one thing changed, and what it is."""
    encoder = toy_encoder(family)
    assert encoder.dim  # asked for now: with some changes nothing can be computed any more
    tensors = encoder.state_dict()
    named = dict(settings_of(encoder))
    what = data.draw(st.sampled_from([*tensors, *named]))
    if what in named:
        named[what]()
    else:
        flat = tensors[what].view(-1)
        flat[data.draw(st.integers(0, len(flat) - 1))] += data.draw(st.sampled_from([1e-3, -1.0]))
    return encoder, what


# Dual encoders


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of two noisy pictures."""
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("red", "blue"):
        (folder / name).mkdir()
        for i in range(2):
            Image.fromarray(draw.integers(0, 255, (24, 30, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def adapters(photos, tmp_path_factory, module_cache):
    """An adapter saved for each family."""
    folder = tmp_path_factory.mktemp("adapters")
    for family in FAMILIES:
        given = {"data": str(photos), "encoder": "toy", "method": {"name": "zeroshot"}, "shots": 1}
        adapt(AdaptSettings(**given), folder / family, encoder=toy_encoder(family))
        load_adapter(folder / family / "model", toy_encoder(family))
    return folder


@given(family=st.sampled_from(FAMILIES), data=st.data())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_changed_no_adapter_opens(adapters, family, data):
    encoder, what = changed_encoder(family, data)
    assert encoder.fingerprint != toy_encoder(family).fingerprint, what
    with pytest.raises(FileError, match="was trained on"):
        load_adapter(adapters / family / "model", encoder)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_setting_moves_the_fingerprint(family):
    first = toy_encoder(family).fingerprint
    names = [name for name, _ in settings_of(toy_encoder(family))]
    assert {"text.heads", "text.causal", "text.tokenizer.encode", "text.ln_final.eps", "image.preprocess.std"} <= {
        *names
    }
    assert "text.transformer.resblocks.1.mlp.activation" in names
    if family != "resnet":
        assert {"image.heads", "image.readout", "image.norm_first", "image.patch", "image.conv1.stride"} <= set(names)
    for name in names:
        encoder = toy_encoder(family)
        dict(settings_of(encoder))[name]()
        assert encoder.fingerprint != first, name


def test_what_changes_no_number_does_not_move_it():
    encoder = toy_encoder("clip")
    plain = toy_encoder("clip")
    plain.saving(PLAIN)
    plain.name = "/elsewhere/clip"
    pixels = toy_images(2)
    torch.testing.assert_close(plain.encode_image(pixels), encoder.encode_image(pixels), rtol=1e-4, atol=1e-4)
    halves = toy_encoder("clip").half()
    assert plain.fingerprint == encoder.fingerprint
    assert halves.float().fingerprint == halves.half().fingerprint


IN_A_PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
from toy_decoders import tokenizer, toy_decoder
from toy_encoders import FAMILIES, toy_encoder
from polyprompt.towers.llm import fingerprint
print(*[toy_encoder(family).fingerprint for family in FAMILIES], fingerprint(toy_decoder("gemma2"), tokenizer()))
"""


@pytest.mark.outside("process")
def test_it_is_the_same_in_every_process():
    output = subprocess.check_output(
        [sys.executable, "-c", IN_A_PROCESS, str(Path(__file__).parents[1])],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        text=True,
        stderr=subprocess.DEVNULL,
    )
    here = [toy_encoder(family).fingerprint for family in ("clip", "siglip", "campe")]
    assert output.split() == [*here, fingerprint(toy_decoder("gemma2"), tokenizer())]


def kept(encoder, pictures, block):
    return ImageStates(encoder, pictures, block, 1.0).read(range(len(pictures)))


def computed(encoder, pictures, block):
    """Of as many at once as where they are kept, since the last bits hang on it."""
    filled = (pictures * TOGETHER)[: max(TOGETHER, len(pictures))]
    pixels = torch.stack([encoder.image.preprocess(picture.open()) for picture in filled])
    return encoder.image.below(pixels, block)[: len(pictures)]


CHANGES = {
    "activation": lambda image: setattr(image.transformer.resblocks[0].mlp, "activation", gelu_tanh),
    "heads": lambda image: setattr(image, "heads", 4),
    "eps": lambda image: setattr(image.transformer.resblocks[1].ln_2, "eps", 0.5),
    "readout": lambda image: setattr(image, "readout", "mean"),
    "a weight": lambda image: image.conv1.weight.data.view(-1)[7].add_(1),
    "mean": lambda image: setattr(image, "preprocess", replace(image.preprocess, mean=(0.4, 0.5, 0.5))),
    "std": lambda image: setattr(image, "preprocess", replace(image.preprocess, std=(0.5, 0.4, 0.5))),
    "interpolation": lambda image: setattr(image, "preprocess", replace(image.preprocess, interpolation="nearest")),
    "resize": lambda image: setattr(image, "preprocess", replace(image.preprocess, resize="squash")),
    "crop": lambda image: setattr(image, "preprocess", replace(image.preprocess, crop=0.5)),
    "rules": lambda image: setattr(image, "preprocess", replace(image.preprocess, rules="transformers")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_no_stale_state_is_used(what, photos):
    pictures = [Picture(path.name, path.read_bytes) for path in sorted(photos.rglob("*.png"))]
    first, encoder = toy_encoder("clip"), toy_encoder("clip")
    CHANGES[what](encoder.image)
    for block in (2, None):
        before, after = kept(first, pictures, block), kept(encoder, pictures, block)
        assert torch.equal(after, computed(encoder, pictures, block))
        if block is None or what != "readout":  # which comes behind block 2
            assert not torch.equal(after, before)
        assert torch.equal(kept(toy_encoder("clip"), pictures, block), before)


NAMES = ("cat", "dog", "a snow-white fox", "Haus", "CAT")
TEMPLATES = ("a {}.", "a photo of a {}.", "A {}.", "{}", "a  {}.")


@given(family=st.sampled_from(FAMILIES), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_changed_no_kept_row_is_stale(monkeypatch, photos, family, data):
    """Of pictures and of sentences: weights, settings, tokenizer, preprocessing, wordings and templates; the cache
    holds what all examples before have left in it."""
    monkeypatch.setattr(view, "MANY", 1)
    pictures = [Picture(path.name, path.read_bytes) for path in sorted(photos.rglob("*.png"))]
    names, templates = (data.draw(st.lists(st.sampled_from(of), min_size=1, max_size=3)) for of in (NAMES, TEMPLATES))
    first, block = toy_encoder(family), data.draw(st.sampled_from([None, 1]) if family != "resnet" else st.none())
    kept(first, pictures, block)
    FrozenText(first, NAMES, keep=True).classes(TEMPLATES[:1])
    changed, what = data.draw(st.booleans()), "nothing"
    encoder = toy_encoder(family)
    if changed:
        encoder, what = changed_encoder(family, data)
    try:
        right = computed(encoder, pictures, block), FrozenText(encoder, names).classes(templates)
    except Exception:  # with some changes nothing can be computed
        reject()
    found = kept(encoder, pictures, block), FrozenText(encoder, names, keep=True).classes(templates)
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, msg=what)


@pytest.mark.parametrize("library", ["torch", "transformers", "timm", "open_clip_torch", "pillow"])
def test_another_major_of_a_library_finds_nothing(installed, photos, library):
    pictures = [Picture(path.name, path.read_bytes) for path in sorted(photos.rglob("*.png"))]
    encoder, seen = toy_encoder("clip"), []
    encoder.image.conv1.register_forward_hook(lambda *_: seen.append(1))

    def look(number):
        installed(**{library: number})
        kept(encoder, pictures, 2)
        return len(seen)

    first = look("7.1.2")
    assert look("7.9.0") == first
    assert look("8.0.0") > first


# Decoders

CONFIGS = {
    "hidden_act": "gelu",
    "num_attention_heads": 8,
    "rms_norm_eps": 0.5,
    "rope_parameters": {"rope_theta": 77.0, "rope_type": "default"},
    "attention_bias": True,
    "pad_token_id": 3,
    "max_position_embeddings": 128,
}


def toy_llm(weights=None, words=None, **changed):
    """The toy Llama with some settings changed and the same weights, as far as they fit."""
    first = toy_decoder("llama")
    config = copy.deepcopy(first.config)
    for name, value in changed.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    if "num_attention_heads" in changed:
        config.num_key_value_heads, config.head_dim = 4, 4
    decoder = type(first)(config).eval()
    decoder.load_state_dict(weights or first.state_dict(), strict=False)
    for name, value in decoder.named_parameters():
        if name.endswith("bias"):
            value.data.fill_(0.1)
    return LLM(decoder, words or tokenizer(), "toy")


@pytest.mark.parametrize("what", CONFIGS)
def test_every_setting_of_a_decoder_counts(what):
    first, changed = toy_llm(), toy_llm(**{what: CONFIGS[what]})
    assert first.fingerprint == toy_llm().fingerprint
    assert first.fingerprint != changed.fingerprint
    ids, tree = [[70, 71, 72], [80, 81]], grow([Branch((5, 6), 0), Branch((5, 7), 0)])
    TextStates(first, 2, ids, tree, "fp32", bf16=False).fill(1.0)
    states = TextStates(changed, 2, ids, tree, "fp32", bf16=False)
    assert not states.complete
    states.fill(1.0)
    assert TextStates(first, 2, ids, tree, "fp32", bf16=False).complete
    for llm in (first, changed):
        batch, hidden = TextStates(llm, 2, ids, tree, "fp32", bf16=False).read([0, 1])
        with torch.no_grad():
            embedded, flow = llm.embed(batch.ids, batch.positions, batch.mask)
            expected = llm.run(embedded, flow, 0, 2)
        torch.testing.assert_close(hidden[:, 3:], expected[:, 3:], rtol=1e-5, atol=1e-5)


def test_what_says_nothing_about_a_decoder_does_not_count():
    decoder = toy_decoder("llama")
    first = LLM(toy_decoder("llama"), tokenizer(), "toy").fingerprint
    decoder.config.transformers_version = "4.0.0"
    decoder.config._name_or_path = "/elsewhere"
    decoder.config.use_cache = False
    used = copy.deepcopy(tokenizer())
    used(
        ["a", "bc"], padding="max_length", max_length=7, truncation=True, pad_to_multiple_of=7
    ) if used.pad_token else (used.backend_tokenizer.enable_padding(length=7))
    assert LLM(decoder, used, "other").fingerprint == first


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_tensor_of_a_decoder_counts(data):
    decoder = toy_decoder("gemma2", blocks=2)
    first = LLM(toy_decoder("gemma2", blocks=2), tokenizer(), "toy").fingerprint
    tensors = decoder.state_dict()
    flat = tensors[data.draw(st.sampled_from(sorted(tensors)))].view(-1)
    flat[data.draw(st.integers(0, len(flat) - 1))] += 1e-3
    assert LLM(decoder, tokenizer(), "toy").fingerprint != first


@pytest.mark.parametrize("what", ["start token", "normalizer", "vocabulary"])
def test_every_part_of_a_tokenizer_counts(what):
    from tokenizers import normalizers

    words = copy.deepcopy(tokenizer())
    match what:
        case "start token":
            words.bos_token = "<end>"
        case "normalizer":
            words.backend_tokenizer.normalizer = normalizers.Lowercase()
        case "vocabulary":
            words.add_tokens(["dogs"])
    assert toy_llm(words=words).fingerprint != toy_llm().fingerprint


# timm

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}


@pytest.mark.parametrize(
    "changed",
    [
        {"num_heads": 4},
        {"act_layer": "relu"},
        {"norm_layer": partial(nn.LayerNorm, eps=0.5)},
        {"pretrained_cfg_overlay": {"mean": (0.1, 0.5, 0.5)}},
        {"pretrained_cfg_overlay": {"std": (0.1, 0.5, 0.5)}},
        {"pretrained_cfg_overlay": {"interpolation": "bilinear"}},
        {"pretrained_cfg_overlay": {"crop_pct": 0.5}},
        {"pretrained_cfg_overlay": {"crop_mode": "squash"}},
    ],
    ids=str,
)
def test_every_setting_of_a_timm_model_counts(changed):
    def made(**over):
        torch.manual_seed(0)
        return timm.create_model("vit_tiny_patch16_224", **TINY | over)

    first, second = made(), made(**changed)
    second.load_state_dict(first.state_dict())
    assert image_towers.fingerprint(made()) == image_towers.fingerprint(first)
    assert image_towers.fingerprint(second) != image_towers.fingerprint(first)


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_tensor_and_setting_of_a_cnn_counts(data):
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", pretrained=False)
    first = image_towers.fingerprint(model)
    tensors, named = model.state_dict(), dict(settings_of(model))
    what = data.draw(st.sampled_from([*tensors, *named]))
    if what in named:
        named[what]()
    else:
        tensors[what].view(-1)[0] += 1
    assert image_towers.fingerprint(model) != first, what


def test_floats_of_any_size_are_told_by_their_values_and_whole_numbers_whole():
    halves = torch.rand(3).bfloat16()
    assert tensor_said("x", halves) == tensor_said("x", halves.float()) == tensor_said("x", halves.double())
    assert tensor_said("x", torch.tensor([2**24])) != tensor_said("x", torch.tensor([2**24 + 1]))  # alike as float32
