"""COCO's caption files: `{"images": [{"id", "file_name"}, ...], "annotations": [{"image_id", "caption"}, ...]}`.

`captions_val2017.json` (Lin et al. 2014, arXiv:1405.0312), alone or in COCO's own `annotations/`: the pictures lie in
`val2017/`, beside the file or one folder up.
"""

from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.files import Places, key_of
from polyprompt.data.items import Picture
from polyprompt.data.json_files import content, field
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.rows import Row
from polyprompt.errors import DataError

WHAT = "COCO's captions (captions_*.json)"


def fits(source: str) -> bool:
    """Whether this is such a file, or a folder with one (COCO's own folder `annotations` included)."""
    path = Path(source)
    if path.is_dir():
        return bool(_files(path))
    if path.suffix.lower() != ".json":
        return False
    data = content(path)
    return isinstance(data, dict) and "images" in data and "annotations" in data


def rows(source: str) -> Iterator[Row]:
    """One row per annotation, in the order of the file; its split is the word in the file's name.

    Raises:
        DataError: the file is missing or damaged, or an entry lacks a field; the message names the entry.
    """
    path = Path(source)
    for file in _files(path) if path.is_dir() else [path]:
        yield from _rows_of(file)


def _rows_of(file: Path) -> Iterator[Row]:
    part = file.stem.removeprefix("captions_")  # val2017
    places = Places(file, part, f"../{part}", "../images", f"../images/{part}")
    name_of: dict[int, str] = {}
    for number, image in enumerate(field(content(file), "images", list, file.name)):
        where = f"{file.name}, images[{number}]"
        name_of[field(image, "id", int, where)] = field(image, "file_name", str, where)
    split = split_of(part)
    key_in = {image: key_of(f"{part}/{name}" if split else name) for image, name in name_of.items()}
    picture_of: dict[int, Picture | None] = {}
    for number, entry in enumerate(field(content(file), "annotations", list, file.name)):
        where = f"{file.name}, annotations[{number}]"
        image = field(entry, "image_id", int, where)
        if image not in name_of:
            raise DataError(f"{where}: image_id {image} is not among the images; take the annotation out")
        if image not in picture_of:
            picture_of[image] = places.find(name_of[image], key_in[image])
        yield Row(where, key_in[image], picture_of[image], field(entry, "caption", str, where), split)
    if bare := [name for image, name in name_of.items() if image not in picture_of]:
        number = count(len(bare), "picture")
        say_once(str(file), f"{file.name}: left out {number} without a caption ({some(bare)}).")
    places.warn()


def split_of(part: str) -> str | None:
    """ "val2017" is val; a name that is no split is none."""
    word = part.rstrip("0123456789").lower()
    return word if word in ("train", "val", "test") else None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("captions_*.json")) or sorted((folder / "annotations").glob("captions_*.json"))
