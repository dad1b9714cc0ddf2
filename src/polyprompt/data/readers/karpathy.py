"""Karpathy's split files: `{"images": [{"filename", "filepath", "split", "sentences": [{"raw"}, ...]}, ...]}`.

Format of Karpathy and Fei-Fei 2015 (arXiv:1412.2306): `dataset_flickr8k.json`, `dataset_flickr30k.json`,
`dataset_coco.json`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.files import Places, key_of, matching, the_one
from polyprompt.data.json_files import content, field
from polyprompt.data.rows import Row
from polyprompt.errors import DataError

WHAT = "Karpathy's JSON (dataset_*.json)"


def fits(source: str) -> bool:
    """Whether this is such a file, or a folder with one."""
    path = Path(source)
    if os.path.isdir(source):
        return bool(_inside(path))
    if path.suffix.lower() != ".json":
        return False
    data = content(path)
    return isinstance(data, dict) and "images" in data and "annotations" not in data


def rows(source: str) -> Iterator[Row]:
    """One row per sentence; pictures lie beside the file, in its `filepath`, or in `images/`.

    Raises:
        DataError: the file is missing or damaged, or an entry lacks a field; the message names the entry.
    """
    path = Path(source)
    file = the_one(_inside(path)) if os.path.isdir(source) else path
    yield from rows_below(file, Places(file))


def rows_below(file: Path, places: Places) -> Iterator[Row]:
    """The rows of a file whose pictures lie elsewhere.

    Raises:
        DataError: as `rows`.
    """
    for number, entry in enumerate(field(content(file), "images", list, file.name)):
        where = f"{file.name}, images[{number}]"
        name = field(entry, "filename", str, where)
        folder = field(entry, "filepath", str, where) if entry.get("filepath") else ""
        split = field(entry, "split", str, where) if entry.get("split") is not None else None
        long = f"{folder}/{name}" if folder else name
        picture = places.find(long) or places.find(name, key_of(long))
        sentences = field(entry, "sentences", list, where)
        if not sentences:
            raise DataError(f"{where}: {key_of(long)} has no sentences; write one or delete the entry")
        for i, sentence in enumerate(sentences):
            place = f"{where}.sentences[{i}]"
            key = key_of(long) if picture is None else picture.key
            yield Row(place, key, picture, field(sentence, "raw", str, place), split)
    places.warn()


def _inside(folder: Path) -> list[Path]:
    """Such files in a folder; those that the datasets library writes have similar names."""
    files = matching(folder, "dataset_*.json")
    return [file for file in files if file.stem.lower() not in ("dataset_info", "dataset_dict")]
