"""Dual encoders of every family equal their own implementation, without prompts; what cannot be prompted says why."""

import json
from functools import partial
from typing import get_args

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn
from torch.nn import functional as F
from toy_encoders import through, toy_encoder, toy_images
from toy_huggingface import clip_folder, huggingface_model, shaken

from polyprompt.adapt.adapter import entering
from polyprompt.disk.foreign import tensors_of
from polyprompt.errors import FileError, TowerError, UnknownNameError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.branches import Place
from polyprompt.nn.prompts import slots
from polyprompt.towers.base import INPUT, Change, Rows
from polyprompt.towers.clip import PLAIN, Savings, TextTransformer
from polyprompt.towers.opaque import OpaqueImage, OpaqueText
from polyprompt.towers.words import Words, openai_words
from polyprompt.zoo.huggingface import from_huggingface, open_huggingface, preprocess_of
from polyprompt.zoo.load import open_encoder
from polyprompt.zoo.open_clip import from_open_clip
from polyprompt.zoo.openai import from_openai

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SENTENCES = ["a photo of a cat.", "two dogs", "A photo of a large, fluffy Maine Coon on a sofa"]
VISION = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 16}
TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3}
SETTINGS = {
    "size": 32,
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.3, 0.25),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def zoo_model(vision=(), text=(), **model) -> nn.Module:
    torch.manual_seed(0)
    kind = open_clip.CustomTextCLIP if model.pop("custom", False) else open_clip.CLIP
    built = kind(24, {**VISION, **dict(vision)}, {**TEXT, **dict(text)}, **model)
    open_clip.set_model_preprocess_cfg(built, dict(SETTINGS))
    return shaken(built)


SIGLIP_TEXT = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
ZOO = {
    "gelu": {},
    "quick gelu": {"quick_gelu": True},
    "custom text": {"custom": True},
    "layer scale": {"vision": {"ls_init_value": 0.1}, "text": {"ls_init_value": 0.2}},
    "mean of patches": {"vision": {"pool_type": "avg", "no_ln_pre": True}},
    "norm after pooling": {"vision": {"final_ln_after_pool": True, "norm_kwargs": {"eps": 1e-3}}},
    "tanh": {"vision": {"act_kwargs": {"approximate": "tanh"}}, "text": {"act_kwargs": {"approximate": "tanh"}}},
    "siglip text": {"text": SIGLIP_TEXT, "custom": True},
    "timm class token": {"vision": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"}},
    "timm map": {
        "vision": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "none"},
        "text": SIGLIP_TEXT,
        "custom": True,
    },
}


def zoo(name: str):
    settings = dict(ZOO[name])
    vision = dict(settings.pop("vision", {}))
    if "timm_model_name" in vision:
        vision["image_size"] = 160
    model = zoo_model(vision, **settings)
    model.visual.preprocess_cfg["size"] = vision.get("image_size", 32)
    if name == "timm map":  # open_clip passes no sizes on, so a small SigLIP trunk is put in by hand
        small = {"embed_dim": 48, "depth": 2, "num_heads": 4, "img_size": 32, "patch_size": 8, "num_classes": 0}
        model.visual.trunk = shaken(timm.create_model("vit_base_patch16_siglip_224", **small))
        model.visual.preprocess_cfg["size"] = 32
        model.text.text_projection = shaken(nn.Linear(32, 48))  # its embedding is as wide as its tokens
    return model


@pytest.mark.parametrize("name", ZOO)
def test_open_clips_models(name):
    model = zoo(name)
    tokenizer = SimpleTokenizer(context_length=20)
    encoder = from_open_clip(model, tokenizer, "toy")
    change = entering([torch.zeros(1, 1)] * 2)
    assert not encoder.image.refuses(change.plan)
    assert not encoder.text.refuses(change.plan)
    size = encoder.image.preprocess.size
    pixels = torch.randn(2, 3, size, size)
    with torch.no_grad():
        images = encoder.encode_image(pixels, normalize=False)
        torch.testing.assert_close(images, model.encode_image(pixels), **CLOSE)
        for savings in (Savings(), PLAIN, Savings(nodes=8)):
            encoder.saving(savings)
            torch.testing.assert_close(
                encoder.encode_text(SENTENCES, normalize=False), model.encode_text(tokenizer(SENTENCES)), **CLOSE
            )
            torch.testing.assert_close(
                encoder.encode_image(pixels, normalize=False), model.encode_image(pixels), **CLOSE
            )


OTHER = {
    "resnet": ({"layers": (1, 1, 1, 1), "width": 16}, {}, "convolutional"),
    "convnext": ({"timm_model_name": "test_convnext", "timm_pool": "avg", "image_size": 160}, {}, "ConvNeXt"),
    "attention pool": ({"attentional_pool": True, "attn_pooler_heads": 4}, {}, "pools with attention"),
    "other blocks": ({"block_type": "custom", "qk_norm": True}, {}, "blocks of another kind"),
    "class token text": ({}, {"embed_cls": True}, "class token"),
}


@pytest.mark.parametrize("name", OTHER)
def test_towers_of_another_kind_serve_as_a_whole_and_say_why(name):
    vision, text, why = OTHER[name]
    model = zoo_model(vision, text, custom=True)
    model.visual.preprocess_cfg["size"] = vision.get("image_size", 32)
    tokenizer = SimpleTokenizer(context_length=20)
    encoder = from_open_clip(model, tokenizer, "toy")
    plan = entering([torch.zeros(1, 1)]).plan
    assert why in encoder.image.refuses(plan) + encoder.text.refuses(plan)
    closed = encoder.text if text else encoder.image
    assert isinstance(closed, OpaqueText | OpaqueImage)
    size = encoder.image.preprocess.size
    pixels = torch.randn(2, 3, size, size)
    with torch.no_grad():
        images = encoder.encode_image(pixels, normalize=False)
        torch.testing.assert_close(images, model.encode_image(pixels), **CLOSE)
        torch.testing.assert_close(
            encoder.encode_text(SENTENCES, normalize=False), model.encode_text(tokenizer(SENTENCES)), **CLOSE
        )


@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_open_clips_pixels(resize):
    settings = {**SETTINGS, "resize_mode": resize}
    model = zoo_model()
    open_clip.set_model_preprocess_cfg(model, settings)
    encoder = from_open_clip(model, SimpleTokenizer(context_length=20), "toy")
    theirs = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    for picture in pictures():
        assert torch.equal(encoder.image.preprocess(picture), theirs(picture))


def pictures():
    draw = np.random.default_rng(0)
    return [
        Image.fromarray(draw.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in [(40, 60), (97, 31), (32, 32)]
    ]


# transformers


def byte_words(end: int, pad: int) -> Words:
    return Words(lambda text: [3 + byte for byte in text.encode()], start=(), end=(end,), pad=pad, vocabulary=260)


@pytest.mark.parametrize("kind", ["clip", "clip, old end", "clip, gelu", "siglip", "siglip2"])
def test_transformers_models(kind):
    model = huggingface_model(kind)
    words = openai_words() if kind.startswith("clip") else byte_words(end=1, pad=1)
    encoder = from_huggingface(model, words, Preprocess(32, (0.5,) * 3, (0.5,) * 3), kind)
    pixels = torch.randn(2, 3, 32, 32)
    rows = [[*words.start, *words.encode(text), *words.end] for text in SENTENCES]
    pad = 49407 if kind.startswith("clip") else 1
    length = encoder.text.length
    ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows])
    inputs = {"pixel_values": pixels}
    if kind == "siglip2":
        patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(2, 16, -1)
        shapes = torch.tensor([[4, 4]] * 2)
        inputs = {"pixel_values": patches, "pixel_attention_mask": torch.ones(2, 16), "spatial_shapes": shapes}
    with torch.no_grad():
        images, texts = model.get_image_features(**inputs), model.get_text_features(ids)
        torch.testing.assert_close(encoder.encode_image(pixels, normalize=False), images.pooler_output, **CLOSE)
        for savings in (Savings(), PLAIN):
            encoder.saving(savings)
            torch.testing.assert_close(encoder.encode_text(SENTENCES, normalize=False), texts.pooler_output, **CLOSE)
    torch.testing.assert_close(encoder.logit_scale, model.logit_scale.detach().reshape(()))


def test_a_clip_folder_with_tokenizer_and_image_processor(tmp_path):
    model = clip_folder(tmp_path)
    encoder = open_encoder(str(tmp_path))
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        texts = model.get_text_features(**batch).pooler_output
    torch.testing.assert_close(encoder.encode_text(SENTENCES, normalize=False), texts, **CLOSE)
    assert encoder.text.words(SENTENCES[2]) == openai_words().encode(SENTENCES[2])


CONFIGS = {kind: huggingface_model(kind).config for kind in ("clip", "siglip")}
PROCESSORS = {
    "clip": (hf.CLIPImageProcessor, hf.models.clip.image_processing_pil_clip.CLIPImageProcessorPil),
    "siglip": (hf.SiglipImageProcessor, hf.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil),
}


@given(
    kind=st.sampled_from(sorted(PROCESSORS)),
    backend=st.integers(0, 1),
    width_height=st.tuples(st.integers(8, 120), st.integers(8, 120)),
    short=st.integers(32, 43),
    resample=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=150, deadline=None)
def test_transformers_pixels_at_every_size(kind, backend, width_height, short, resample):
    """Of pictures of noise, where a cut that is half a pixel off changes everything; both of its ways to resize."""
    sides = {"size": {"shortest_edge": short}, "crop_size": {"height": 32, "width": 32}}
    sizes = sides if kind == "clip" else {"size": {"height": short, "width": short}}
    processor = PROCESSORS[kind][backend](**sizes, resample=resample)
    noise = np.random.default_rng(sum(width_height)).integers(0, 256, (*width_height, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    theirs = torch.as_tensor(np.asarray(processor(picture)["pixel_values"][0])).float()
    ours = preprocess_of(processor, CONFIGS[kind])(picture)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("resample", [4, 5])
def test_a_way_to_resize_that_transformers_cannot_use_itself(resample):
    """Box and Hamming have no tensors to work on."""
    make, make_pil = PROCESSORS["clip"]
    sides = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "resample": resample}
    with pytest.raises(TowerError, match=f"resample is {resample}, which is not read here"):
        preprocess_of(make(**sides), CONFIGS["clip"])
    assert preprocess_of(make_pil(**sides), CONFIGS["clip"]).rules == "transformers-pil"


def test_other_models_and_folders_are_named(tmp_path):
    with pytest.raises(TowerError, match=r"without config\.json"):
        open_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(TowerError, match="a bert model; dual encoders read from transformers: clip, siglip, siglip2"):
        open_huggingface(str(tmp_path), "mine")
    with pytest.raises(UnknownNameError, match="ViT-B-16/openai"):
        open_encoder("ViT-B-16/opnai")
    with pytest.raises(UnknownNameError, match=r"no encoder is called 'ViT-B16'\. Did you mean 'ViT-B-16'"):
        open_encoder("ViT-B16")
    with pytest.raises(FileError, match="no such file"):
        open_encoder(str(tmp_path / "missing.pt"))


# OpenAI's files


@pytest.fixture(scope="module")
def openai_state():
    state = zoo_model({"head_width": 64}, {"heads": 1, "width": 64}, quick_gelu=True).state_dict()
    extra = {"input_resolution": 32, "context_length": 20, "vocab_size": 49408}
    return {**state, **{key: torch.tensor(value) for key, value in extra.items()}}


class Scripted(nn.Module):
    """Modules nested as a state dict's names are, so that TorchScript saves the same names."""

    def __init__(self, state):
        super().__init__()
        inner: dict = {}
        for key, value in state.items():
            head, _, rest = key.partition(".")
            if rest:
                inner.setdefault(head, {})[rest] = value
            elif value.is_floating_point():
                self.register_parameter(head, nn.Parameter(value))
            else:
                self.register_buffer(head, value)
        for head, rest in inner.items():
            self.add_module(head, Scripted(rest))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_a_torchscript_archive_is_read_without_running_it(openai_state, tmp_path):
    path = tmp_path / "toy.pt"
    half = {key: value.half() if value.is_floating_point() else value for key, value in openai_state.items()}
    torch.jit.script(Scripted(half)).save(str(path))
    read = tensors_of(path)
    assert read.keys() == openai_state.keys()
    assert all(torch.equal(read[key], half[key]) for key in read)
    encoder = open_encoder(str(path))
    assert encoder.image.preprocess.size == 32
    plain = tmp_path / "plain.pt"
    torch.save(half, plain)
    assert open_encoder(str(plain)).fingerprint == encoder.fingerprint


def test_openais_resnet(tmp_path):
    model = zoo_model(
        {"layers": (1, 2, 1, 1), "width": 8, "head_width": 64, "image_size": 64}, {"heads": 1, "width": 64}
    )
    state = dict(model.state_dict())
    state["text_projection"] = model.text_projection.data
    encoder = from_openai(state, "RN")
    assert "convolutional" in encoder.image.refuses(entering([torch.zeros(1, 1)]).plan)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        other = from_openai({key: value.half() for key, value in state.items()}, "RN")
        assert other.fingerprint != encoder.fingerprint
        images = encoder.encode_image(pixels, normalize=False)
        torch.testing.assert_close(images, model.encode_image(pixels), **CLOSE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("ln_final.bias"), "lacks tensor ln_final.bias"),
        (lambda s: s.update({"ln_finale.bias": torch.zeros(64)}), "unknown tensor ln_finale.bias"),
        (lambda s: s.update({"ln_final.bias": torch.zeros(3)}), r"ln_final.bias is \[3\], not \[64\]"),
        (lambda s: s.pop("text_projection"), "not a CLIP in OpenAI's layout"),
        (lambda s: s.update({"token_embedding.weight": torch.zeros(100, 64)}), "100 word vectors"),
    ],
)
def test_weights_that_do_not_fit_are_named(openai_state, change, message):
    state = dict(openai_state)
    change(state)
    with pytest.raises(TowerError, match=message):
        from_openai(state, "toy")


def test_gradients_reach_prompts_alone_and_parts_do_not_change_them(openai_state):
    encoder = from_openai(openai_state, "toy").double()
    assert isinstance(encoder.text, TextTransformer)
    rows = [[*slots(0, 2), 5, *range(number + 1)] for number in range(6)]
    gradients = []
    for savings in (
        PLAIN,
        Savings(),
        Savings(nodes=6),
        Savings(share=False),
        Savings(cut=False),
        Savings(last_row=False),
    ):
        encoder.saving(savings)
        first = torch.full((2, 64), 0.3, dtype=torch.float64, requires_grad=True)
        deep = torch.full((2, 64), -0.2, dtype=torch.float64, requires_grad=True)
        change = entering([first, deep])
        texts = encoder.text.prepare(rows, change.plan)
        vectors = encoder.text.above(texts, encoder.text.below(texts, change.start), change).vectors
        vectors.square().sum().backward()
        gradients.append((vectors.detach(), first.grad, deep.grad))
        assert (len(texts.parts) > 1) == (savings.nodes == 6)
    for other in gradients[1:]:
        for ours, plain in zip(other, gradients[0], strict=True):
            torch.testing.assert_close(ours, plain)
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize(("last_row", "image", "text"), [(True, 1, 1), (False, 17, 4)])
def test_savings_reach_both_towers(openai_state, last_row, image, text):
    """Rows that the last block's MLP sees: those read out, or all."""
    encoder = from_openai(openai_state, "toy")
    encoder.saving(Savings(last_row=last_row))
    seen = []
    for tower in (encoder.image, encoder.text):
        tower.transformer.resblocks[-1].mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder.encode_image(torch.randn(1, 3, encoder.image.preprocess.size, encoder.image.preprocess.size))
    encoder.text.below(encoder.text.prepare([[320, 539]]), None)
    assert [len(rows.flatten(0, -2)) for rows in seen] == [image, text]


@pytest.mark.parametrize("start", [1, 2])
def test_prompts_that_enter_late_are_unseen_below(openai_state, start):
    """Slow and plain: the blocks below run on the words alone, which have the places they have without slots."""
    encoder = from_openai(openai_state, "toy")
    text = encoder.text
    vectors = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    row = [*slots(0, 2), 320, 539]
    ids = [*text.tokenizer.start, *row, *text.tokenizer.end]
    words = [place for place, token in enumerate(ids) if token >= 0]
    with torch.no_grad():
        ours = through(text, [row, [*row, 7]], entering([vectors], start))[0]
        places = text.positional_embedding[: len(words)]
        states = text.token_embedding.weight[[ids[place] for place in words]] + places
        for number, block in enumerate(text.transformer.resblocks):
            if number == start:
                states = torch.cat([states[:1], vectors, states[1:]])
            mask = torch.ones(len(states), len(states)).tril().bool()

            def look(q, both, mask=mask):
                q, k, v = (x.unflatten(-1, (text.heads, -1)).transpose(0, 1) for x in (q, *both.chunk(2, -1)))
                weights = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf).softmax(-1)
                return (weights @ v).transpose(0, 1).flatten(1)

            states = block(states, look)
        expected = text.ln_final(states[-1]) @ text.text_projection
    torch.testing.assert_close(ours, expected, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_slots_that_part_in_a_later_block_cost_nothing_below_it(family):
    """Two rows shared at the input, rows of each text's own from block 1 on: the same as texts laid out apart."""
    text = toy_encoder(family).text
    rows = [[*slots(2 * number, 2), 65, 70 + number] for number in range(4)]
    shared, own = torch.randn(2, 32), torch.randn(8, 32)
    of = (0, 1) * 4
    change = Change(input=Rows(shared, of), prompts={1: Rows(own)})
    apart = Change(input=Rows(shared[list(of)]), prompts={1: Rows(own)})
    torch.testing.assert_close(through(text, rows, change), through(text, rows, apart), **CLOSE)
    if family == "clip":
        stages = text.prepare(rows, change.plan).parts[0]
        assert len(stages[INPUT].trie.ids) == 4 + 2 * 4  # start, two slots and the first word; last word and end
        assert len(stages[1].trie.ids) == 1 + 5 * 4


@torch.no_grad()
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_change_of_nothing_is_the_tower(family):
    """Rows that put back the states that stand there, and branches that add zero."""
    encoder = toy_encoder(family)
    zero = dict.fromkeys(((block, place) for block in range(3) for place in get_args(Place) if place != "input"), 0)
    branches = {key: lambda x: 0 * x for key in zero} | {(INPUT, "input"): lambda x: 0 * x}
    change = Change(branches=branches)
    rows = [[65, 66], [65]]
    plain = torch.cat(encoder.text.below(encoder.text.prepare(rows), None))
    torch.testing.assert_close(through(encoder.text, rows, change), plain)
    pixels = toy_images()
    found = encoder.image.above(encoder.image.below(pixels, INPUT), change).vectors
    torch.testing.assert_close(found, encoder.image.below(pixels, None))


@torch.no_grad()
@pytest.mark.parametrize("place", ["query", "key", "value", "out", "mlp"])
def test_a_branch_is_a_change_of_its_layers_weight(place):
    """A linear branch beside a layer equals the tower with the sum of both weights."""
    encoder, merged = toy_encoder("clip"), toy_encoder("clip")
    for tower, width in (("text", 32), ("image", 48)):
        update = 0.1 * torch.randn(width, width)
        block = getattr(merged, tower).transformer.resblocks[1]
        third = ["query", "key", "value"].index(place) if place in ("query", "key", "value") else None
        branch = partial(F.linear, weight=update)
        if third is not None:
            block.attn.in_proj_weight.data[third * width : (third + 1) * width] += update
        elif place == "out":
            block.attn.out_proj.weight.data += update
        else:  # an MLP is not linear: the same branch as a module around it
            block.mlp = Around(block.mlp, branch)
        change = Change(branches={(1, place): branch})
        if tower == "text":
            rows = [[65, 66], [65], [70, 71, 72]]
            expected = torch.cat(merged.text.below(merged.text.prepare(rows), None))
            torch.testing.assert_close(through(encoder.text, rows, change), expected, **CLOSE)
        else:
            states = encoder.image.below(toy_images(), 1)
            expected = merged.image.below(toy_images(), None)
            torch.testing.assert_close(encoder.image.above(states, change).vectors, expected, **CLOSE)


class Around(torch.nn.Module):
    def __init__(self, inner, branch):
        super().__init__()
        self.inner, self.branch = inner, branch

    def forward(self, x):
        return self.inner(x) + self.branch(x)
