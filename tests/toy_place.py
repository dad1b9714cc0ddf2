"""A folder in which the documentation's lines run as they stand: its pictures and files, toy towers for big weights."""

import csv
import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from toy_decoders import tokenizer, toy_decoder

import polyprompt as pp
from polyprompt.adapt.engine import build
from polyprompt.disk import packaged
from polyprompt.methods import maple
from polyprompt.methods.originals import export_original
from polyprompt.skins import sklearn
from polyprompt.towers import timm as timm_towers

ROOT = Path(__file__).parents[1]
COLOURS = {"cat": (220, 120, 40), "dog": (90, 60, 30), "hamster": (240, 220, 180), "parrot": (30, 200, 40)}


@contextmanager
def toy_place(place: Path) -> Iterator[None]:
    """`place` is the working folder meanwhile; the names of big weights stand for toy towers in it."""
    few_epochs = {"few-shot": replace(maple.PUBLISHED["few-shot"], epochs=2)}  # 50 are published
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.syspath_prepend(place)
        patch.setenv("POLYPROMPT_CACHE", str(place / "cache"))
        patch.setattr(maple, "PUBLISHED", maple.PUBLISHED | few_epochs)
        patch.setattr(packaged, "smollm2", lambda: place / "smollm2")
        patch.setattr(packaged, "efficientnet_lite0", lambda: place / "cnn.safetensors")
        patch.setattr(
            timm_towers, "timm_name", lambda name: "test_efficientnet" if name == timm_towers.PACKAGED else name
        )
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # torch.export cannot read its checks
        patch.setattr(logging.getLogger("torch.__trace"), "level", logging.ERROR)  # it floods pytest's log
        towers()
        pictures()
        shutil.copytree(ROOT / "recipes", "recipes")
        clip = pp.load_encoder("ViT-B-16/openai")
        export_original(build(maple.Config(), clip, ["tench", "goldfish"]), "output/imagenet/seed1", epoch=50)
        yield
    sklearn.opened.cache_clear()


def towers():
    """An LLM of 30 blocks, a CNN, and a CLIP deep enough for MaPLe, in a file of the name that the README gives."""
    toy_decoder("llama", blocks=30).save_pretrained("smollm2")
    tokenizer().save_pretrained("smollm2")
    torch.manual_seed(0)
    save_file(timm.create_model("test_efficientnet").state_dict(), "cnn.safetensors")
    vision = {"layers": 9, "width": 64, "head_width": 64, "patch_size": 8, "image_size": 16}
    text = {"layers": 9, "width": 64, "heads": 1}
    Path("ViT-B-16").mkdir()
    torch.save(open_clip.CLIP(32, vision, text, quick_gelu=True).state_dict(), "ViT-B-16/openai")


def pictures():
    """Noisy squares, a colour for each animal: with captions, in class folders, with a split file, and loose ones."""
    draw = np.random.default_rng(0)
    names = list(COLOURS)

    def square(name, path):
        pixels = np.clip(np.array(COLOURS[name]) + draw.integers(-40, 40, (32, 32, 3)), 0, 255)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)

    for name, path in (("cat", "cat.png"), ("dog", "dog.png"), ("cat", "holiday-photos/1.png")):
        square(name, path)
    for name in names[:2]:
        for i in range(17):  # one is left of 16 shots
            square(name, f"pets/{name}/{i}.png")

    captions = [("file", "caption", "split")]
    for i, split in enumerate(["train", "train", "dev", "test"] * 4):
        name = names[i // 4]
        square(name, f"photos/{i}.png")
        captions.append((f"{i}.png", f"a {name}", split))
    with open("photos/captions.csv", "w", newline="") as file:
        csv.writer(file).writerows(captions)

    splits = defaultdict(list)
    for split in ("train", "val", "test"):
        for label, name in enumerate(names):
            square(name, f"images/{name}_{split}.png")
            splits[split].append((f"{name}_{split}.png", label, name))
    Path("split_zhou_OxfordPets.json").write_text(json.dumps(splits))
