"""Small pictures and lists of them as files, and what was read of them in a form to compare."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import strategies as st
from miniatures import Root
from PIL import Image

from polyprompt.data.items import Labelled, Pairs
from polyprompt.errors import PolypromptError

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
PLACES = ["cat/1.png", "cat/2.png", "dog/1.png", "emu/x/1.JPG"]
"""Of the fixture `animals`."""
Caption = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
"""Any caption that is not empty."""


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), COLOURS[number % 3]).save(buffer, "PNG")
    return buffer.getvalue()


def table(folder: Path, text: str, name: str = "captions.csv") -> str:
    """Writes a table; the folder, as a source."""
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    return str(folder)


def tar(root: Root, name: str, *members: tuple[str, bytes | str]) -> None:
    path = root.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for member, data in members:
            info = tarfile.TarInfo(member)
            data = data.encode() if isinstance(data, str) else data
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def by_key(pairs: Pairs) -> dict[str, list[str]]:
    """The captions of each picture."""
    found = {image.key: [] for image in pairs.images}
    for caption, image in zip(pairs.captions, pairs.image_of, strict=True):
        found[pairs.images[image].key].append(caption)
    return found


def captions(pairs: Pairs) -> list[tuple[str, str]]:
    """Each caption with its picture's key."""
    return [(pairs.images[i].key, text) for i, text in zip(pairs.image_of, pairs.captions, strict=True)]


def keys(data: Labelled) -> list[str]:
    return [picture.key for picture in data.pictures]


def one_line(error: pytest.ExceptionInfo) -> bool:
    return "\n" not in str(error.value) and isinstance(error.value, PolypromptError)
