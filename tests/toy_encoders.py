"""Tiny dual encoders of each family, with random weights."""

import torch
from torch import nn
from toy_decoders import tokenizer, toy_decoder

from polyprompt.campe.config import ModelSettings
from polyprompt.campe.encoder import CampeEncoder
from polyprompt.campe.model import CAMPE
from polyprompt.media.pictures import Preprocess
from polyprompt.settings import checked
from polyprompt.towers.clip import CLIP, ImageForm, ImageTransformer, Probe, TextForm, TextTransformer
from polyprompt.towers.llm import LLM
from polyprompt.towers.opaque import OpaqueImage
from polyprompt.towers.timm import TimmTower
from polyprompt.towers.transformer import Block
from polyprompt.towers.words import Words
from polyprompt.zoo.openai import resnet_reason

FAMILIES = ("clip", "siglip", "campe")
NAMES = ("cat", "tabby_cat", "dog", "big dog")
SIZE, LAYERS, EMBEDDING = 16, 3, 32


def toy_encoder(family: str, seed: int = 0, layers: int = LAYERS) -> CLIP | CampeEncoder:
    """A CLIP (class token, causal text), a SigLIP (probe, texts that see all of themselves), or a CAMPE (LLM with three
    prompts, new blocks on a CNN)."""
    if family == "campe":
        return toy_campe(seed)
    draw = torch.Generator().manual_seed(seed)
    clip = family != "siglip"
    words = Words(lambda text: [5 + byte for byte in text.encode()], (1,) if clip else (), (2,), pad=0, vocabulary=270)
    text = TextTransformer(
        blocks(32, layers),
        words,
        TextForm(length=60, heads=2, vocabulary=270, embedding=EMBEDDING, causal=clip, bias=not clip),
    )
    preprocess = Preprocess(SIZE, (0.5,) * 3, (0.5,) * 3)
    image: nn.Module = ImageTransformer(
        blocks(48 if clip else EMBEDDING, layers),
        preprocess,
        ImageForm(
            patch=4,
            heads=2,
            embedding=EMBEDDING if clip else None,
            readout="class" if clip else Probe(EMBEDDING, 40, 2, "gelu", 1e-6),
            class_token=clip,
            patch_bias=not clip,
            pre_norm=clip,
        ),
    )
    if family == "resnet":
        pool = nn.Sequential(nn.Conv2d(3, EMBEDDING, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        image = OpaqueImage(pool, preprocess, resnet_reason("toy"))
    for module in (text, image):
        for parameter in module.parameters():
            scale = 0.3 if parameter.ndim > 1 else 0.1
            parameter.data = scale * torch.randn(parameter.shape, generator=draw) + (parameter.ndim == 1)
    return CLIP(image, text, torch.tensor(2.5), f"toy-{family}")


def blocks(width: int, layers: int) -> list[Block]:
    return [Block(width, 2 * width, "quick_gelu", 1e-5) for _ in range(layers)]


def toy_campe(seed: int = 0) -> CampeEncoder:
    return CampeEncoder(toy_model(seed), "toy-campe")


def toy_model(seed: int = 0, text_blocks: int = LAYERS, image_blocks: int = LAYERS) -> CAMPE:
    import timm

    settings = {"dim": 24, "text": {"prompts": 3}, "image": {"width": 16, "new_blocks": image_blocks}}
    llm = LLM(toy_decoder("llama", blocks=text_blocks), tokenizer(), "toy-llama")
    torch.manual_seed(seed)
    cnn = timm.create_model("test_efficientnet", pretrained_cfg_overlay={"input_size": (3, 64, 64)})
    model = CAMPE(checked(ModelSettings, settings), llm, TimmTower(cnn, name="toy-cnn", fingerprint="toy"))
    for parameter in (model.text.vectors, model.image.pool.queries, model.image.pool.keys.weight):
        parameter.data += torch.randn_like(parameter)
    return model


def toy_images(count: int = 6, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def through(text, rows, change) -> torch.Tensor:
    """The vectors of rows in a text tower with a change."""
    texts = text.prepare(rows, change.plan)
    return text.above(texts, text.below(texts, change.start), change).vectors
