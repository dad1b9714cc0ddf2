"""Models of open_clip give what open_clip gives; towers of another kind serve as a whole and say why."""

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn
from toy_huggingface import shaken
from toy_open_clip import CLOSE, SENTENCES, SETTINGS, zoo_model

from polyprompt.adapt.adapter import entering
from polyprompt.errors import TowerError
from polyprompt.towers.clip import PLAIN, Savings
from polyprompt.towers.opaque import OpaqueImage, OpaqueText
from polyprompt.zoo.open_clip import from_open_clip

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


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("size", [32, 48], r"the size \[32, 48\] are not read here; height and width are equal"),
        ("resize_mode", "longest", "resize mode 'longest' is not read here"),
        ("interpolation", "nearest", "interpolation 'nearest' is not read here; it is bicubic or bilinear"),
    ],
)
def test_settings_that_are_not_followed_are_refused(setting, value, says):
    model = zoo_model()
    open_clip.set_model_preprocess_cfg(model, {**SETTINGS, setting: value})
    with pytest.raises(TowerError, match=says):
        from_open_clip(model, SimpleTokenizer(context_length=20), "toy")


def pictures():
    draw = np.random.default_rng(0)
    return [
        Image.fromarray(draw.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in [(40, 60), (97, 31), (32, 32)]
    ]
