"""Karpathy's split files: `{"images": [{"filename", "filepath", "split", "sentences": [{"raw"}, ...]}, ...]}`.

Format of Karpathy and Fei-Fei 2015 (arXiv:1412.2306): `dataset_flickr8k.json`, `dataset_flickr30k.json`,
`dataset_coco.json`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyprompt.data.items import find_picture, key_of
from polyprompt.data.rows import Row
from polyprompt.errors import DataError


def fits(source: str) -> bool:
    """Whether this is a JSON file, or a folder with one `dataset*.json`."""
    path = Path(source)
    return path.suffix.lower() == ".json" or len(list(path.glob("dataset_*.json"))) == 1


def rows(source: str) -> Iterator[Row]:
    """One row per sentence; pictures lie beside the file, in its `filepath`, or in `images/`.

    Raises:
        DataError: the file is missing or damaged, or an entry lacks a field; the message names the entry.
    """
    path = Path(source)
    file = path if path.suffix.lower() == ".json" else next(path.glob("dataset_*.json"))
    for number, entry in enumerate(_entries(file)):
        where = f"{file.name}, images[{number}]"
        name = _field(entry, "filename", str, where)
        folder = entry.get("filepath") or ""
        key = key_of(f"{folder}/{name}" if folder else name)
        picture = find_picture(file.parent, key) or find_picture(file.parent, key_of(name), key)
        sentences = _field(entry, "sentences", list, where)
        if not sentences:
            raise DataError(f"{where}: {key} has no sentences; write one or delete the entry")
        for i, sentence in enumerate(sentences):
            place = f"{where}.sentences[{i}]"
            yield Row(place, key, picture, _field(sentence, "raw", str, place), entry.get("split"))


def _entries(file: Path) -> list[Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON ({error})") from None
    return _field(content, "images", list, file.name)


def _field(entry: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: is a {type(entry).__name__}; it must be an object in braces with {name!r}")
    if not isinstance(entry.get(name), kind):
        raise DataError(
            f"{where}: {name!r} is {entry.get(name)!r:.60}, must be a {kind.__name__}; "
            f"found the fields {', '.join(map(repr, entry)) or 'none'}"
        )
    return entry[name]
