"""A name, a folder or a file -> a dual encoder.

open_encoder("ViT-B-16/openai")                 a model and weights of open_clip's zoo
open_encoder("hf-hub:timm/ViT-B-16-SigLIP")     the same from the hub ("local-dir:..." from a folder)
open_encoder("google/siglip-base-patch16-224")  transformers' CLIP, SigLIP, SigLIP 2: hub id or folder
open_encoder("RN50.pt")                         OpenAI's own files: TorchScript archives and state dicts
"""

import os
from pathlib import Path

import torch

from polyprompt.disk.foreign import tensors_of
from polyprompt.disk.places import may_be_on_hub, nearby
from polyprompt.errors import FileError, TowerError, UnknownNameError
from polyprompt.progress import step
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
    check_name(name)
    with step(f"Opening {name}"):  # as long as the hub takes, or the many tries until it is given up
        return _open(name, dtype)


def _open(name: str, dtype: torch.dtype | None) -> CLIP:
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
    if architecture in open_clip_models():
        return open_open_clip(architecture, pretrained, name, dtype)
    return open_huggingface(name, name, dtype)


def check_name(name: str) -> None:
    """Refuses a name that no encoder can have, without a look at its weights or the hub.

    Raises:
        UnknownNameError: no such model in open_clip's zoo.
        TowerError: no such folder. FileError: no such file.
    """
    place = name.removeprefix("local-dir:")
    if name.startswith("hf-hub:") or os.path.exists(place):
        return
    if place != name:
        raise TowerError(f"{name}: no such folder.{nearby(place)}")
    if name.endswith(FILES):
        raise FileError(f"{name}: no such file.{nearby(name)}")
    architecture, slash, pretrained = name.partition("/")
    known = open_clip_models()
    if architecture in known:
        import open_clip

        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if pretrained not in tags:
            raise UnknownNameError("pretrained model", name, [f"{architecture}/{tag}" for tag in tags])
    elif not slash:
        raise UnknownNameError("encoder", name, known)
    elif not may_be_on_hub(name):
        raise TowerError(f"{name}: no such file or folder.{nearby(name)}")


def open_clip_models() -> list[str]:
    """The names of open_clip's zoo."""
    import open_clip

    return open_clip.list_models()
