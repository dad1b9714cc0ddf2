"""COCO's caption files: `{"images": [{"id", "file_name"}, ...], "annotations": [{"image_id", "caption"}, ...]}`.

`captions_val2017.json` (Lin et al. 2014, arXiv:1405.0312), alone or in COCO's own `annotations/`: the pictures lie in
`val2017/`, beside the file or one folder up; those of any `captions_web.json` in `web/`, or in a folder that several
files share.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.files import Places, key_of, matching
from polyprompt.data.items import Picture
from polyprompt.data.json_files import content, field
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.rows import Row
from polyprompt.errors import DataError

WHAT = "COCO's captions (captions_*.json)"
NAMES = "captions_*.json"


def fits(source: str) -> bool:
    """Whether this is such a file, or a folder with one (COCO's own folder `annotations` included)."""
    path = Path(source)
    if os.path.isdir(source):
        return bool(_files(path))
    if path.suffix.lower() != ".json":
        return False
    data = content(path)
    return isinstance(data, dict) and "images" in data and "annotations" in data


def rows(source: str) -> Iterator[Row]:
    """One row per annotation, in the order of the file; its split is the word in the file's name.

    Raises:
        DataError: the file is missing or damaged, an entry lacks a field, or two pictures have one id; the message
            names the entry.
    """
    path = Path(source)
    for file in _files(path) if os.path.isdir(source) else [path]:
        yield from _rows_of(file)


def _rows_of(file: Path) -> Iterator[Row]:
    part = re.sub("^captions_", "", file.stem, flags=re.IGNORECASE)  # val2017
    own, shared = Places(file, "..", "../images"), Places(file, "../images")
    name_of = _names(file)
    split = split_of(part)
    picture_of: dict[int, Picture | None] = {}
    for number, entry in enumerate(field(content(file), "annotations", list, file.name)):
        where = f"{file.name}, annotations[{number}]"
        image = field(entry, "image_id", int, where)
        if image not in name_of:
            raise DataError(f"{where}: image_id {image} is not among the images; take the annotation out")
        long = f"{part}/{name_of[image]}"  # several files may each have a 0.jpg in a folder of their own
        if image not in picture_of:
            picture_of[image] = own.find(long) or shared.find(name_of[image])
        picture = picture_of[image]
        key = picture.key if picture else key_of(long)
        yield Row(where, key, picture, field(entry, "caption", str, where), split)
    if bare := [name for image, name in name_of.items() if image not in picture_of]:
        number = count(len(bare), "picture")
        say_once(str(file), f"{file.name}: left out {number} without a caption ({some(bare)}).")
    own.warn()
    shared.warn()


def _names(file: Path) -> dict[int, str]:
    """The file name of each image, by its id.

    Raises:
        DataError: an image lacks a field, or one id has two file names.
    """
    name_of: dict[int, str] = {}
    for number, image in enumerate(field(content(file), "images", list, file.name)):
        where = f"{file.name}, images[{number}]"
        image_id, name = field(image, "id", int, where), field(image, "file_name", str, where)
        if (first := name_of.setdefault(image_id, name)) != name:
            raise DataError(
                f"{where}: id {image_id} is {name!r} here, but {first!r} before; whose the captions are cannot be "
                "told, give each picture an id of its own"
            )
    return name_of


def split_of(part: str) -> str | None:
    """ "val2017" is val; a name that is no split is none."""
    word = part.rstrip("0123456789").lower()
    return word if word in ("train", "val", "test") else None


def _files(folder: Path) -> list[Path]:
    return matching(folder, NAMES) or matching(folder / "annotations", NAMES)
