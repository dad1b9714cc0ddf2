"""A name, a folder or a file -> a dual encoder.

open_encoder("ViT-B-16/openai")                 a model and weights of open_clip's zoo
open_encoder("hf-hub:timm/ViT-B-16-SigLIP")     the same from the hub ("local-dir:..." from a folder)
open_encoder("google/siglip-base-patch16-224")  transformers' CLIP, SigLIP, SigLIP 2: hub id or folder
open_encoder("RN50.pt")                         OpenAI's own files: TorchScript archives and state dicts
"""

from pathlib import Path

import torch

from polyprompt.disk.foreign import tensors_of
from polyprompt.errors import TowerError, UnknownNameError
from polyprompt.towers.clip import CLIP
from polyprompt.zoo.huggingface import open_huggingface
from polyprompt.zoo.open_clip import open_open_clip
from polyprompt.zoo.openai import from_openai

FILES = (".pt", ".pth", ".safetensors", ".bin")


def open_encoder(name: str, dtype: torch.dtype | None = torch.float32) -> CLIP:
    """Opens a dual encoder, frozen, on the CPU; `dtype` as for `CLIP`.

    Raises:
        UnknownNameError: no such model in open_clip's zoo.
        TowerError: it cannot be opened, or is of a kind that is not known here.
        FileError: a file is damaged or holds more than tensors.
    """
    import open_clip

    if name.startswith(("hf-hub:", "local-dir:")):
        return open_open_clip(name, None, name, dtype)
    if name.endswith(FILES) or Path(name).is_file():
        return from_openai(tensors_of(name), name, dtype)
    if Path(name).is_dir():
        if (Path(name) / "open_clip_config.json").exists():
            return open_open_clip(f"local-dir:{name}", None, name, dtype)
        if not (Path(name) / "config.json").exists():
            raise TowerError(f"{name}: a folder without config.json or open_clip_config.json; not a model's")
        return open_huggingface(name, name, dtype)
    architecture, _, pretrained = name.partition("/")
    known = open_clip.list_models()
    if architecture in known:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if pretrained not in tags:
            raise UnknownNameError("pretrained model", name, [f"{architecture}/{tag}" for tag in tags])
        return open_open_clip(architecture, pretrained, name, dtype)
    if pretrained:
        return open_huggingface(name, name, dtype)
    raise UnknownNameError("encoder", name, known)
