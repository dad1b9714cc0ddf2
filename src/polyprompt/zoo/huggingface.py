"""transformers' CLIP, SigLIP and SigLIP 2, read into the one form of clip.py; tests compare with their own forward
pass.

SigLIP 2 comes in two kinds. Those of fixed size are SiglipModels. Those of flexible size (NaFlex) keep a picture's
aspect ratio upstream; here they get a square of the size that their position embeddings were trained for, which gives
the same numbers for square pictures.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.towers.clip import CLIP, ImageForm, ImageTransformer, Probe, TextForm, TextTransformer
from polyprompt.towers.pretrained import check_config, check_scale, check_weights, one_line, said_by
from polyprompt.towers.transformer import Block
from polyprompt.towers.weights import built
from polyprompt.towers.words import Words, huggingface_words
from polyprompt.values import Foreign, Json, Values
from polyprompt.zoo.openai import fill, under
from polyprompt.zoo.same_pixels import check_same_pixels

KINDS = ("clip", "siglip", "siglip2")
WIDEST = 2048
"""Pixels along a side; no dual encoder has a quarter of that area, and a config may say any number."""
INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers."""
SETTINGS = (
    *("do_resize", "do_rescale", "do_normalize", "do_center_crop", "rescale_factor", "resample", "size", "crop_size"),
    *("image_mean", "image_std", "do_pad"),
)
"""Of an image processor, those that change pixels and are read."""
HARMLESS = (
    *("do_convert_rgb", "do_reduce_labels", "data_format", "input_data_format", "return_tensors", "device"),
    "default_to_square",
)
"""Those that change none: pictures come as RGB, maps of labels are not read, and `size` stands there as understood."""
Triple = tuple[float, float, float]

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


def open_huggingface(source: str, name: str, dtype: torch.dtype | None = torch.float32) -> CLIP:
    """A model of one of `KINDS` from a local folder or the hub, mapped from its files; `dtype` as for `CLIP`.

    Raises:
        TowerError: not there, or of another kind.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

    check_weights(source, name)
    with one_line(f"{name}:", "" if Path(source).exists() else "Nor is there a folder of this name."):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        if config.model_type not in KINDS:
            raise TowerError(
                f"{name}: a {config.model_type} model; dual encoders read from transformers: {', '.join(KINDS)}"
            )
        check_config(said_by(config), name)
        model, checkpoint = built(source, config, name)
        state = checkpoint.read_all() if checkpoint else None
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        processor = AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
        words, preprocess = huggingface_words(tokenizer), preprocess_of(processor, config)
        return from_huggingface(model, words, preprocess, name, dtype, state)


def preprocess_of(processor: Foreign, config: Foreign) -> Preprocess:
    """The settings of an image processor; pixels are resized as the processor itself resizes them.

    Raises:
        TowerError: a setting that `Preprocess` has no place for, named; a processor that makes other pixels.
    """
    of_patches = config.model_type == "siglip2"
    preprocess = _preprocess_of(processor, config)
    unread = _unread(processor, ("patch_size", "max_num_patches") if of_patches else ())
    for name, value in unread.items():  # what these do may not show in one picture
        check_setting(not name.startswith("do_"), name, value, "false")
    patch = config.vision_config.patch_size if of_patches else None
    check_same_pixels(
        processor, preprocess, ", ".join(f"{name} {value!r:.40}" for name, value in unread.items()), patch
    )
    return preprocess


def _unread(processor: Foreign, also_read: tuple[str, ...]) -> Json:
    """Settings that the processor's class knows and that are not read here, where they are more than None or False."""
    known = getattr(processor, "_valid_kwargs_names", ())
    read = {*SETTINGS, *HARMLESS, *also_read}
    return {name: value for name in known if name not in read and (value := getattr(processor, name, None))}


def _preprocess_of(processor: Foreign, config: Foreign) -> Preprocess:
    from transformers.image_processing_backends import TorchvisionBackend

    settings: Json = dict.fromkeys(("do_resize", "do_rescale", "do_normalize", "do_center_crop"), True) | {
        key: value for key, value in vars(processor).items() if key in SETTINGS and value is not None
    }
    check_setting(settings["do_resize"], "do_resize", settings["do_resize"], "pictures of all sizes come in")
    check_setting(settings["do_rescale"], "do_rescale", settings["do_rescale"], "pixels run from 0 to 1")
    check_setting(not settings.get("do_pad"), "do_pad", settings.get("do_pad"), "pictures are cut, not padded")
    factor = settings.get("rescale_factor", 1 / 255)
    check_setting(math.isclose(factor, 1 / 255), "rescale_factor", factor, "1/255")
    resample = settings.get("resample")
    check_setting(resample in INTERPOLATION, "resample", resample, "a number of Pillow's, 0 to 5")
    interpolation = INTERPOLATION[int(settings["resample"])]
    mean, std = _mean_and_std(settings)
    rules = "transformers" if isinstance(processor, TorchvisionBackend) else "transformers-pil"
    fits = interpolation not in ("box", "hamming") or rules == "transformers-pil"
    check_setting(fits, "resample", resample, "transformers' own processor has 0 to 3 for tensors")
    if config.model_type == "siglip2":
        pixels = naflex_grid(config.vision_config) * config.vision_config.patch_size
        if not _is_side(pixels):
            raise TowerError(f"config.json: its patches make {pixels:,} pixels a side; 1 to {WIDEST:,} are read")
        return Preprocess(pixels, mean, std, interpolation, "squash", rules=rules)
    pixels, short = _sizes(settings, config.vision_config.image_size)
    if short is None:
        return Preprocess(pixels, mean, std, interpolation, "squash", rules=rules)
    crop = pixels / short
    crop = crop if math.floor(pixels / crop) == short else math.nextafter(crop, 0)  # rounding must not lose a pixel
    return Preprocess(pixels, mean, std, interpolation, "short", crop, rules)


def check_setting(fits: bool, name: str, value: object, allowed: str) -> None:
    """Raises `TowerError` unless a setting of an image processor fits."""
    if not fits:
        raise TowerError(f"preprocessor_config.json: {name} is {value!r:.60}, which is not read here; {allowed}")


def _mean_and_std(settings: Values) -> tuple[Triple, Triple]:
    if not settings["do_normalize"]:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    triples: list[Triple] = []
    for name in ("image_mean", "image_std"):
        numbers = settings.get(name)
        fits = isinstance(numbers, list | tuple) and len(numbers) == 3
        check_setting(fits, name, numbers, "three numbers, for red, green, blue")
        red, green, blue = map(float, numbers or ())
        triples.append((red, green, blue))
    return triples[0], triples[1]


def _sizes(settings: Values, usual: int) -> tuple[int, int | None]:
    """Pixels along a side in the end, and those of the shorter side before the middle is cut out; None: squashed."""
    size, cut = dict(settings.get("size") or {}), dict(settings.get("crop_size") or {})
    cropped = bool(settings["do_center_crop"]) and bool(cut)
    pixels = cut.get("height", usual)
    if cropped:
        check_setting(_is_side(pixels) and cut.get("width") == pixels, "crop_size", cut, "height and width are equal")
    short = size.get("shortest_edge")
    if short is None:
        side = size.get("height")
        fits = _is_side(side) and size == {"height": side, "width": side}
        check_setting(fits, "size", size, "height and width, which are equal")
        check_setting(not cropped or pixels == side, "crop_size", cut, f"as size, {side}")
        return int(size["height"]), None
    check_setting(cropped, "do_center_crop", settings["do_center_crop"], "pictures are square in the end")
    check_setting(size.keys() == {"shortest_edge"}, "size", size, "shortest_edge alone, or height and width")
    fits = _is_side(short) and short >= pixels
    check_setting(fits, "size", size, f"shortest_edge is at least the {pixels} pixels of crop_size")
    return pixels, short


def _is_side(value: object) -> bool:
    return isinstance(value, int) and 0 < value <= WIDEST


def naflex_grid(vision: Foreign) -> int:
    """Patches along a side of the square that the position embeddings were trained for."""
    return round(vision.num_patches**0.5)


def from_huggingface(
    model: Foreign,
    words: Words,
    preprocess: Preprocess,
    name: str,
    dtype: torch.dtype | None = torch.float32,
    state: Mapping[str, Tensor] | None = None,
) -> CLIP:
    """The dual encoder of a transformers model; `dtype` as for `CLIP`, and `state` its tensors, if it is without them.

    Raises:
        TowerError: a setting or tensor that this form has no place for; a logit scale that is none.
    """
    config = model.config
    if state is None:
        state = cast(dict[str, Tensor], model.state_dict())
    check_scale(state["logit_scale"], name)
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
    return CLIP(image, text, state["logit_scale"], name, dtype)


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
        raise TowerError(f"{config.model_type}: this model has no readout of its image tokens (vision_use_head is off)")
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
