"""Miniatures of official layouts."""

import io
import json
from pathlib import Path

from PIL import Image

from polyprompt.data.items import Labelled


def picture(colour=(200, 30, 30), kind="JPEG", mode="RGB", size=(3, 2), **save) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(buffer, kind, **save)
    return buffer.getvalue()


def labelled(data: Labelled) -> list[tuple[str, str]]:
    """Each picture's key and class name."""
    return [(p.key, data.class_names[label]) for p, label in zip(data.pictures, data.labels, strict=True)]


class Root:
    """A folder of data sets in the making."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pictures(self, *names: str, data: bytes | None = None) -> "Root":
        for name in names:
            self.file(name, picture() if data is None else data)
        return self

    def file(self, name: str, data: bytes | str) -> "Root":
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return self

    def json(self, name: str, value: object) -> "Root":
        return self.file(name, json.dumps(value))
