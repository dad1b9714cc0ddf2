"""A saved model of toy towers that lie in folders, as `align` leaves one."""

import csv
import io
import tarfile
from pathlib import Path

import torch
from bits import photos, towers

from polyprompt.campe.config import ModelSettings
from polyprompt.campe.model import build
from polyprompt.settings import checked


def align_toys(place: Path, **text) -> Path:
    """`place/llm`, `place/cnn`, coloured squares with captions, and `place/run/model`: random, K = 3, D = 24."""
    photos(place / "photos")
    towers(place)
    settings = {
        "dim": 24,
        "text": {"tower": str(place / "llm"), "prompts": 3, **text},
        "image": {"tower": str(place / "cnn"), "width": 32},
    }
    torch.manual_seed(1)
    model = build(checked(ModelSettings, settings)).eval()
    if hasattr(model.text, "vectors"):
        model.text.vectors.data += 0.3 * torch.randn_like(model.text.vectors)
    model.save_pretrained(place / "run" / "model")
    return place / "run"


def captioned(place: Path) -> list[tuple[Path, str]]:
    """Pictures and their captions."""
    with open(place / "captions" / "captions.csv") as file:
        return [(place / "captions" / row["file"], row["caption"]) for row in csv.DictReader(file)]


def tar(path: Path, members: dict[str, bytes]) -> None:
    """A tar of small files."""
    with tarfile.open(path, "w") as file:
        for name, data in members.items():
            one = tarfile.TarInfo(name)
            one.size = len(data)
            file.addfile(one, io.BytesIO(data))
