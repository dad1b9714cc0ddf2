"""CoOp's split files (`split_zhou_*.json`, Zhou et al. 2022): `{"train": [[path, label, class name], ...], ...}`.

The pictures lie beside the file or in one folder beside it, which each data set names otherwise.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.files import Places, key_of, visible_folders
from polyprompt.data.json_files import content
from polyprompt.data.rows import Row
from polyprompt.errors import DataError
from polyprompt.values import Plain

WHAT = "a CoOp split file (split_*.json)"


def fits(source: str) -> bool:
    """Whether this is such a file, or a folder with one."""
    path = Path(source)
    if path.is_dir():
        return len(list(path.glob("split_*.json"))) == 1
    return path.suffix.lower() == ".json" and _is_split_file(content(path))


def rows(source: str) -> Iterator[Row]:
    """One row per picture, split by split, in the order of the file.

    Raises:
        DataError: an entry that is not of this form; the message names it.
    """
    path = Path(source)
    file = next(path.glob("split_*.json")) if path.is_dir() else path
    yield from rows_below(file, content(file))


def rows_below(file: Path, splits: Plain, *folders: Path) -> Iterator[Row]:
    """The rows of what a split file holds, with the pictures in the first of `folders` that has the first one.

    Raises:
        DataError: as `rows`.
    """
    if not _is_split_file(splits):
        raise DataError(f"{file}: not a split file; it must be an object with the lists train, val and test")
    first = next((entry[0] for listed in splits.values() for entry in listed if _is_entry(entry)), "")
    root = _root_of(file, first, folders)
    places = Places(root / file.name, home=file.parent)
    for split, listed in splits.items():
        for i, entry in enumerate(listed):
            where = f"{file.name}, {split}[{i}]"
            if not _is_entry(entry):
                raise DataError(f"{where}: is {entry!r:.80}; must be [path, label, class name]")
            name, label, class_name = entry
            picture = places.find(name)
            key = picture.key if picture else key_of(name)
            yield Row(where, key, picture, split=split, label=label, class_name=class_name)
    places.warn()


def _is_split_file(content: object) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(part, list) for part in content.values())
        and ("images" not in content and "annotations" not in content and "videos" not in content)
    )


def _is_entry(entry: object) -> bool:
    match entry:
        case [str(), int(label), str()]:
            return not isinstance(label, bool)
    return False


def _root_of(file: Path, first: str, folders: tuple[Path, ...]) -> Path:
    """The folder that the paths start from."""
    near = folders or (file.parent, *(file.parent / name for name in visible_folders(file.parent)))
    return next((folder for folder in near if os.path.isfile(folder / first)), near[0])
