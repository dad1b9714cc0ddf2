"""transformers' CLIP, SigLIP and SigLIP 2, read into the one form of clip.py; tests compare with their own forward
pass.

SigLIP 2 comes in two kinds. Those of fixed size are SiglipModels. Those of flexible size (NaFlex) keep a picture's
aspect ratio upstream; here they get a square of the size that their position embeddings were trained for, which gives
the same numbers for square pictures.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.towers.clip import CLIP, ImageForm, ImageTransformer, Probe, TextForm, TextTransformer
from polyprompt.towers.transformer import Block
from polyprompt.towers.words import Words, huggingface_words
from polyprompt.values import Foreign
from polyprompt.zoo.openai import fill, under

KINDS = ("clip", "siglip", "siglip2")
INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers."""

COMMON = {
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.patch_embedding.": "conv1.",
    "embeddings.class_embedding": "class_embedding",
    "encoder.layers.": "transformer.resblocks.",
    "self_attn.": "attn.",
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "final_layer_norm.": "ln_final.",
    "pre_layrnorm.": "ln_pre.",
    "post_layernorm.": "ln_post.",
    "head.attention.": "pool.attn.",
    "head.layernorm.": "pool.ln.",
    "head.mlp.": "pool.mlp.",
    "head.probe": "pool.probe",
}
"""Their names, piece by piece, and OpenAI's."""


def open_huggingface(source: str, name: str) -> CLIP:
    """A model of one of `KINDS` from a local folder or the hub.

    Raises:
        TowerError: not there, or of another kind.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type not in KINDS:
            raise TowerError(
                f"{name}: a {config.model_type} model; dual encoders read from transformers: {', '.join(KINDS)}"
            )
        model = AutoModel.from_pretrained(source, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source)
        processor = AutoImageProcessor.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise TowerError(f"{name}: cannot be opened ({' '.join(str(error).split())})") from None
    return from_huggingface(model, huggingface_words(tokenizer), preprocess_of(processor, config), name)


def preprocess_of(processor: Foreign, config: Foreign) -> Preprocess:
    """The settings of an image processor."""
    size, crop = processor.size or {}, getattr(processor, "crop_size", None) or {}
    mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    interpolation = INTERPOLATION[int(processor.resample)]
    if config.model_type == "siglip2":
        return Preprocess(
            naflex_grid(config.vision_config) * config.vision_config.patch_size, mean, std, interpolation, "squash"
        )
    if "shortest_edge" in size:
        pixels = crop.get("height", config.vision_config.image_size)
        return Preprocess(pixels, mean, std, interpolation, "short", pixels / size["shortest_edge"])
    return Preprocess(size["height"], mean, std, interpolation, "squash")


def naflex_grid(vision: Foreign) -> int:
    """Patches along a side of the square that the position embeddings were trained for."""
    return round(vision.num_patches**0.5)


def from_huggingface(model: Foreign, words: Words, preprocess: Preprocess, name: str) -> CLIP:
    """The dual encoder of a transformers model.

    Raises:
        TowerError: a setting or tensor that this form has no place for.
    """
    config, state = model.config, model.state_dict()
    is_clip = config.model_type == "clip"
    text, image = _text(config, is_clip, words), _image(config, is_clip, preprocess)
    text_state = renamed(under(state, "text_model."))
    image_state = renamed(under(state, "vision_model."))
    if is_clip:
        text_state["text_projection"] = state["text_projection.weight"].T
        image_state["proj"] = state["visual_projection.weight"].T
    else:
        text_state["text_projection"] = text_state.pop("head.weight").T
        text_state["text_bias"] = text_state.pop("head.bias")
    if config.model_type == "siglip2":  # a linear map of patches instead of a convolution: rows, columns, channels
        patch = config.vision_config.patch_size
        flat = image_state["conv1.weight"]
        image_state["conv1.weight"] = flat.unflatten(1, (patch, patch, -1)).permute(0, 3, 1, 2)
    fill(text, text_state, f"{name} (text)")
    fill(image, image_state, f"{name} (image)")
    return CLIP(image, text, state["logit_scale"], name)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under OpenAI's names; queries, keys and values in one map."""
    new: dict[str, Tensor] = {}
    for key, value in state.items():
        for theirs, ours in COMMON.items():
            key = key.replace(theirs, ours) if not theirs.startswith("mlp") or "pool" not in key else key
        new[key.replace("pool.mlp.fc1", "pool.mlp.c_fc").replace("pool.mlp.fc2", "pool.mlp.c_proj")] = value
    for key in [key for key in new if re.search(r"attn\.q_proj\.(weight|bias)$", key)]:
        parts = [new.pop(key.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        new[re.sub(r"q_proj\.(weight|bias)$", r"in_proj_\1", key)] = torch.cat(parts)
    return new


def _blocks(part: Foreign) -> list[Block]:
    return [
        Block(part.hidden_size, part.intermediate_size, part.hidden_act, part.layer_norm_eps)
        for _ in range(part.num_hidden_layers)
    ]


def _text(config: Foreign, is_clip: bool, words: Words) -> TextTransformer:
    part = config.text_config
    return TextTransformer(
        _blocks(part),
        words,
        TextForm(
            length=part.max_position_embeddings,
            heads=part.num_attention_heads,
            vocabulary=part.vocab_size,
            embedding=config.projection_dim if is_clip else part.projection_size,
            eps=part.layer_norm_eps,
            causal=is_clip,
            bias=not is_clip,
        ),
    )


def _image(config: Foreign, is_clip: bool, preprocess: Preprocess) -> ImageTransformer:
    part = config.vision_config
    heads, eps = part.num_attention_heads, part.layer_norm_eps
    if not is_clip and not getattr(part, "vision_use_head", True):
        raise TowerError(
            f"{config.model_type}: this model has no read-out of its image tokens (vision_use_head is off)"
        )
    probe = Probe(part.hidden_size, part.intermediate_size, heads, part.hidden_act, eps)
    return ImageTransformer(
        _blocks(part),
        preprocess,
        ImageForm(
            patch=part.patch_size,
            heads=heads,
            embedding=config.projection_dim if is_clip else None,
            readout="class" if is_clip else probe,
            class_token=is_clip,
            patch_bias=not is_clip,
            pre_norm=is_clip,
            eps=eps,
        ),
    )
