"""open_clip's zoo, read into the one form of clip.py where a tower has that form, and used as a whole where it has not.

Whether it has is not believed but tried: after the weights are in, both towers are run beside upstream's on a random
picture and a sentence. A tower that is built otherwise, or gives other numbers, still serves without prompts of its
own, and says why it takes none.
"""

import inspect
from pathlib import Path

import torch
from torch import Tensor, nn

from polyprompt.disk.files import read_json
from polyprompt.errors import TowerError
from polyprompt.media.pictures import Preprocess
from polyprompt.nn.finite import check_finite
from polyprompt.towers.clip import CLIP, ImageForm, ImageTransformer, Probe, TextForm, TextTransformer
from polyprompt.towers.opaque import OpaqueImage, OpaqueText
from polyprompt.towers.pretrained import check_config, check_scale, check_weights, one_line
from polyprompt.towers.transformer import Block
from polyprompt.towers.words import Words, huggingface_words, openai_words
from polyprompt.values import Foreign, Json
from polyprompt.zoo.openai import fill, resnet_reason

TOLERANCE = 1e-3
"""Largest difference from upstream, relative to the largest number: rounding stays a hundred times below."""


def open_open_clip(
    architecture: str, pretrained: str | None, name: str, dtype: torch.dtype | None = torch.float32
) -> CLIP:
    """A model of open_clip's zoo with its weights.

    Args:
        architecture: "ViT-B-16", "hf-hub:timm/ViT-B-16-SigLIP" or "local-dir:/somewhere".
        pretrained: a tag of open_clip's or a file of weights; None where the architecture brings its own.
        dtype: as for `CLIP`; open_clip reads its weights as fp32, and what is held is what is kept.

    Raises:
        TowerError: not there, or not readable.
    """
    import open_clip

    with one_line(f"{name}:"):
        options = _tokenizer_options(architecture, name)
        _check_file(architecture, pretrained, name)
        # Without `pretrained_text=False` a text tower's own weights might be fetched, pickled ones among them.
        model = open_clip.create_model_from_pretrained(
            architecture, pretrained, return_transform=False, pretrained_text=False
        )
        return from_open_clip(model, open_clip.get_tokenizer(architecture, **options), name, dtype)


def _tokenizer_options(architecture: str, name: str) -> Json:
    """What `get_tokenizer` has to be told, after a look at what the config would tell it and transformers.

    Raises:
        TowerError: an option that open_clip's own tokenizer has not, which would go on to transformers; a config that
            asks for more than may be; weights that are pickled.
    """
    import open_clip
    from open_clip.factory import _get_hf_config
    from open_clip.tokenizer import HFTokenizer
    from transformers import AutoConfig

    schema, _, place = architecture.partition(":")
    if schema == "local-dir":
        check_weights(place, name)
        config = read_json(Path(place) / "open_clip_config.json")["model_cfg"]
    elif schema == "hf-hub":
        config = _get_hf_config(place)["model_cfg"]
    else:
        config: Json = open_clip.get_model_config(architecture) or {"text_cfg": {}}
    check_config(config, name)
    text = config["text_cfg"]
    known = inspect.signature(HFTokenizer.__init__).parameters
    for option in text.get("tokenizer_kwargs", {}):
        if option not in known or option == "kwargs":
            raise TowerError(f"{name}: tokenizer_kwargs has {option!r}, which no tokenizer of open_clip's takes.")
    if inner := text.get("hf_model_name"):  # open_clip leaves it to transformers to ask whether its code may run
        AutoConfig.from_pretrained(inner, trust_remote_code=False)
    return {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}


def _check_file(architecture: str, pretrained: str | None, name: str) -> None:
    """Refuses weights that open_clip would unpickle: it takes a `.bin` or `.pt` where it finds no safetensors.

    Raises:
        TowerError: names the file.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    from open_clip.factory import _find_checkpoint_in_dir
    from open_clip.pretrained import get_pretrained_cfg

    schema, _, place = architecture.partition(":")
    if schema == "local-dir":
        if file := _find_checkpoint_in_dir(Path(place)):
            _check_safe(file, name)
        return None
    pickled, safe = HF_WEIGHTS_NAME, HF_SAFE_WEIGHTS_NAME
    if schema != "hf-hub":
        weights = get_pretrained_cfg(architecture, pretrained or "")
        place, _, file = weights.get("hf_hub", "").rpartition("/")
        if not place or "file" in weights or file.endswith(".pt"):  # for which no safetensors are looked for
            return _check_safe(str(weights.get("file") or file or weights.get("url") or pretrained), name)
        if file:
            pickled, safe = file, str(Path(file).with_suffix(".safetensors"))
    try:
        hf_hub_download(place, safe)
    except LocalEntryNotFoundError:  # the hub did not answer; a pickle from an earlier time is not taken instead
        if isinstance(kept := try_to_load_from_cache(place, pickled), str):
            _check_safe(kept, name)
        raise
    except EntryNotFoundError:
        _check_safe(f"{place}/{pickled}", name)


def _check_safe(file: str, name: str) -> None:
    if not file.endswith(".safetensors"):
        raise TowerError(
            f"{name}: {file} is no safetensors file, and no pickle is loaded; convert it, and give the folder that it "
            "lies in"
        )


def from_open_clip(model: Foreign, tokenizer: Foreign, name: str, dtype: torch.dtype | None = torch.float32) -> CLIP:
    """The dual encoder of an open_clip model; `dtype` as for `CLIP`.

    Raises:
        TowerError: its texts cannot be read, even as a whole. FileError: a tensor holds what is no number.
    """
    model.eval()
    check_scale(model.logit_scale, name)
    check_finite(model.state_dict(), name)
    return CLIP(_image(model, name), _text(model, tokenizer, name), model.logit_scale, name, dtype)


class _OtherKindError(Exception):
    """A tower that is not of clip.py's form, and in what."""


def check(fits: bool, what: str) -> None:
    """Raises `_OtherKindError` unless it fits."""
    if not fits:
        raise _OtherKindError(what)


def close(ours: Tensor, theirs: Tensor) -> bool:
    """Equal but for rounding."""
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max())


# Images


def preprocess_of(visual: Foreign) -> Preprocess:
    """The settings of open_clip's evaluation transform.

    Raises:
        TowerError: one that is not followed here.
    """
    settings = visual.preprocess_cfg
    sides = settings["size"] if isinstance(settings["size"], list | tuple) else [settings["size"]]
    if len({*sides}) != 1:
        raise TowerError(f"pictures of the size {settings['size']} are not read here; height and width are equal")
    size = sides[0]
    resize = {"shortest": "short", "squash": "squash"}.get(settings["resize_mode"])
    if resize is None:
        raise TowerError(f"resize mode {settings['resize_mode']!r} is not read here; it is shortest or squash")
    if settings["interpolation"] not in ("bicubic", "bilinear"):
        raise TowerError(f"interpolation {settings['interpolation']!r} is not read here; it is bicubic or bilinear")
    return Preprocess(size, tuple(settings["mean"]), tuple(settings["std"]), settings["interpolation"], resize)


@torch.no_grad()
def _image(model: Foreign, name: str) -> ImageTransformer | OpaqueImage:
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    visual, preprocess = model.visual, preprocess_of(model.visual)
    if isinstance(visual, ModifiedResNet):
        return OpaqueImage(visual, preprocess, resnet_reason(name))
    try:
        check(isinstance(visual, VisionTransformer | TimmModel), f"a {type(visual).__name__}")
        tower = (_vit if isinstance(visual, VisionTransformer) else _timm)(visual, preprocess)
        pixels = torch.randn(2, 3, preprocess.size, preprocess.size, generator=torch.Generator().manual_seed(0))
        check(close(tower.eval().below(pixels, None), model.encode_image(pixels)), "its blocks compute otherwise")
        return tower
    except (_OtherKindError, TowerError, AttributeError, KeyError) as error:
        return OpaqueImage(visual, preprocess, _closed("image", name, error))


def _closed(what: str, name: str, error: Exception) -> str:
    return (
        f"the {what} tower of {name} is not a plain transformer ({error}) and takes no prompts; choose a method that "
        f"prompts the other tower, or another encoder"
    )


def _vit(visual: Foreign, preprocess: Preprocess) -> ImageTransformer:
    check(visual.attn_pool is None and visual.pool_type in ("tok", "avg"), "it pools with attention")
    tower = ImageTransformer(
        _blocks(visual.transformer.resblocks),
        preprocess,
        ImageForm(
            patch=visual.patch_size[0],
            heads=_heads(visual.transformer.resblocks),
            embedding=visual.proj.shape[1],
            readout="class" if visual.pool_type == "tok" else "mean",
            pre_norm=not isinstance(visual.ln_pre, nn.Identity),
            norm_first=not visual.final_ln_after_pool,
            eps=visual.ln_post.eps,
        ),
    )
    fill(tower, visual.state_dict(), "visual")
    return tower


def _timm(visual: Foreign, preprocess: Preprocess) -> ImageTransformer:
    from timm.layers.attention_pool import AttentionPoolLatent
    from timm.models.vision_transformer import Block as TimmBlock
    from timm.models.vision_transformer import VisionTransformer

    trunk = visual.trunk
    check(type(trunk) is VisionTransformer, f"a {type(trunk).__name__}")
    check(all(type(block) is TimmBlock for block in trunk.blocks), "it has blocks of another kind")
    check(set(dict(visual.head.named_children())) <= {"drop", "proj"}, "it has a head of its own")
    first, pool = trunk.blocks[0], trunk.attn_pool
    width, norm = trunk.embed_dim, trunk.norm if isinstance(trunk.norm, nn.LayerNorm) else trunk.fc_norm
    readout: str | Probe = {"token": "class", "avg": "mean"}.get(trunk.global_pool, "class")
    if pool is not None:
        check(isinstance(pool, AttentionPoolLatent), "it pools otherwise")
        readout = Probe(width, pool.mlp.fc1.out_features, pool.num_heads, _activation(pool.mlp.act), pool.norm.eps)
    projection = getattr(visual.head, "proj", None)
    state = {key: value for key, value in trunk.state_dict().items() if not key.startswith("attn_pool.")}
    tower = ImageTransformer(
        [
            Block(
                width,
                first.mlp.fc1.out_features,
                _activation(first.mlp.act),
                first.norm1.eps,
                scaled="blocks.0.ls1.gamma" in state,
            )
            for _ in trunk.blocks
        ],
        preprocess,
        ImageForm(
            patch=trunk.patch_embed.patch_size[0],
            heads=first.attn.num_heads,
            embedding=None if projection is None else projection.out_features,
            readout=readout,
            class_token=trunk.cls_token is not None,
            patch_bias=trunk.patch_embed.proj.bias is not None,
            pre_norm=not isinstance(trunk.norm_pre, nn.Identity),
            norm_first=isinstance(trunk.norm, nn.LayerNorm),
            projection_bias=projection is not None and projection.bias is not None,
            eps=norm.eps,
        ),
    )
    new = _from_timm(state)
    if pool is not None:
        new |= {f"pool.{key}": value for key, value in _pool(pool.state_dict()).items()}
    if projection is not None:
        new["proj"] = projection.weight.T
        if projection.bias is not None:
            new["proj_bias"] = projection.bias
    fill(tower, new, "visual")
    return tower


TIMM = {
    "patch_embed.proj.": "conv1.",
    "cls_token": "class_embedding",
    "pos_embed": "positional_embedding",
    "norm_pre.": "ln_pre.",
    "fc_norm.": "ln_post.",
    "blocks.": "transformer.resblocks.",
    "attn.qkv.": "attn.in_proj_",
    "attn.proj.": "attn.out_proj.",
    "norm1.": "ln_1.",
    "norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "ls1.": "ls_1.",
    "ls2.": "ls_2.",
}
"""timm's names, piece by piece, and OpenAI's."""


def _from_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    new = {}
    for key, value in state.items():
        for theirs, ours in TIMM.items():
            key = key.replace(theirs, ours)
        key = f"ln_post.{key.removeprefix('norm.')}" if key.startswith("norm.") else key
        new[key] = value.reshape(-1, value.shape[-1]) if key == "positional_embedding" else value
        new[key] = value.flatten() if key == "class_embedding" else new[key]
    return new


def _pool(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's latent attention pool as a `Probe`."""
    new = {"probe": state["latent"]}
    for part in ("weight", "bias"):
        new[f"attn.in_proj_{part}"] = torch.cat([state[f"q.{part}"], state[f"kv.{part}"]])
        new[f"attn.out_proj.{part}"] = state[f"proj.{part}"]
        new[f"ln.{part}"] = state[f"norm.{part}"]
        new[f"mlp.c_fc.{part}"] = state[f"mlp.fc1.{part}"]
        new[f"mlp.c_proj.{part}"] = state[f"mlp.fc2.{part}"]
    return new


# Texts


@torch.no_grad()
def _text(model: Foreign, tokenizer: Foreign, name: str) -> TextTransformer | OpaqueText:
    words = _words(tokenizer)
    sentences = ["a photo of a cat.", "two dogs"]
    expected = model.encode_text(tokenizer(sentences, context_length=model.context_length))
    tower: TextTransformer | OpaqueText
    try:
        tower = _transformer(model, words)
        check(close(_encoded(tower, sentences), expected), "its blocks compute otherwise")
    except (_OtherKindError, TowerError, AttributeError, KeyError) as error:
        inner = getattr(model, "text", model)
        tower = OpaqueText(inner, model.encode_text, words, model.context_length, _closed("text", name, error))
        if not close(_encoded(tower, sentences), expected):
            raise TowerError(
                f"{name}: its texts cannot be read; its tokenizer works otherwise than those known"
            ) from None
    return tower


def _encoded(tower: TextTransformer | OpaqueText, sentences: list[str]) -> Tensor:
    texts: Foreign = tower.eval().prepare([tower.words(sentence) for sentence in sentences])
    return torch.cat(tower.below(texts, None))


def _words(tokenizer: Foreign) -> Words:
    from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer

    if isinstance(tokenizer, SimpleTokenizer):
        return openai_words()
    if isinstance(tokenizer, HFTokenizer):
        return huggingface_words(tokenizer.tokenizer, clean=tokenizer.clean_fn)
    if isinstance(tokenizer, SigLipTokenizer):
        return huggingface_words(tokenizer.tokenizer, clean=_canonical)
    raise TowerError(f"its tokenizer is a {type(tokenizer).__name__}, which is not known here")


def _canonical(text: str) -> str:
    from open_clip.tokenizer import basic_clean, canonicalize_text

    return canonicalize_text(basic_clean(text))


def _transformer(model: Foreign, words: Words) -> TextTransformer:
    text = getattr(model, "text", model)
    pool = text.pool_type if hasattr(text, "pool_type") else model.text_pool_type
    causal, projection = text.attn_mask is not None, text.text_projection
    check(getattr(text, "cls_emb", None) is None, "it reads out a class token")
    check(not getattr(text, "use_pad_mask", False), "it masks padding")
    check(pool in ("argmax", "eos") if causal else pool == "last", f"it reads out {pool}")
    check(projection is not None, "it has no projection")
    bias = isinstance(projection, nn.Linear) and projection.bias is not None
    blocks = text.transformer.resblocks
    tower = TextTransformer(
        _blocks(blocks),
        words,
        TextForm(
            length=len(text.positional_embedding),
            heads=_heads(blocks),
            vocabulary=text.token_embedding.num_embeddings,
            embedding=projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1],
            eps=text.ln_final.eps,
            causal=causal,
            bias=bias,
        ),
    )
    state = {
        key: value
        for key, value in text.state_dict().items()
        if not key.startswith(("visual.", "text_projection", "logit_"))
    }
    state["text_projection"] = projection.weight.T if isinstance(projection, nn.Linear) else projection
    if bias:
        state["text_bias"] = projection.bias
    fill(tower, state, "text")
    return tower


# Blocks


def _blocks(resblocks: Foreign) -> list[Block]:
    from open_clip.transformer import ResidualAttentionBlock

    check(all(type(block) is ResidualAttentionBlock for block in resblocks), "it has blocks of another kind")
    return [
        Block(
            block.ln_1.normalized_shape[0],
            block.mlp.c_fc.out_features,
            _activation(block.mlp.gelu),
            block.ln_1.eps,
            scaled=not isinstance(block.ls_1, nn.Identity),
        )
        for block in resblocks
    ]


def _heads(resblocks: Foreign) -> int:
    return resblocks[0].attn.num_heads


def _activation(module: nn.Module) -> str:
    """The name of an activation in transformer.py."""
    kind = type(module).__name__
    if kind == "GELU":
        return "gelu_pytorch_tanh" if getattr(module, "approximate", "none") == "tanh" else "gelu"
    names = {"QuickGELU": "quick_gelu", "GELUTanh": "gelu_pytorch_tanh"}
    check(kind in names, f"its activation is {kind}")
    return names[kind]
