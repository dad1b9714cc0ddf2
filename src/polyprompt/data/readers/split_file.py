"""CoOp's split files (`split_zhou_*.json`, Zhou et al. 2022): `{"train": [[path, label, class name], ...], ...}`.

The pictures lie beside the file or in one folder beside it, which each data set names otherwise.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from polyprompt.data.files import PICTURE_FOLDERS, Places, key_of, matching, the_one, visible_folders
from polyprompt.data.json_files import content
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.rows import Row
from polyprompt.errors import DataError
from polyprompt.values import Plain

WHAT = "a CoOp split file (split_*.json)"
NAMES = "split_*.json"


def fits(source: str) -> bool:
    """Whether this is such a file, or a folder with one."""
    path = Path(source)
    if os.path.isdir(source):
        return bool(matching(path, NAMES))
    return path.suffix.lower() == ".json" and _is_split_file(content(path))


def rows(source: str) -> Iterator[Row]:
    """One row per picture, split by split, in the order of the file.

    Raises:
        DataError: an entry that is not of this form; the message names it.
    """
    path = Path(source)
    file = the_one(matching(path, NAMES)) if os.path.isdir(source) else path
    yield from rows_below(file, content(file))


def rows_below(file: Path, splits: Plain, *folders: Path) -> Iterator[Row]:
    """The rows of what a split file holds, with the pictures in the first of `folders` that has the first one found.

    Raises:
        DataError: as `rows`.
    """
    if not _is_split_file(splits):
        raise DataError(f"{file}: not a split file; it must be an object with the lists train, val and test")
    root = _root_of(file, [entry[0] for listed in splits.values() for entry in listed if _is_entry(entry)], folders)
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


def _root_of(file: Path, names: Sequence[str], folders: Sequence[Path]) -> Path:
    """The folder that the paths start from; one that pictures usually lie in before others, which is told."""
    beside = sorted(visible_folders(file.parent), key=lambda name: name.lower() not in PICTURE_FOLDERS)
    near = folders or [file.parent, *(file.parent / name for name in beside)]
    found = ([folder for folder in near if os.path.isfile(folder / name)] for name in names)
    root, *others = next(filter(None, found), near[:1])
    if root == file.parent:  # `Places` looks into the usual ones, too
        others = [folder for folder in others if folder.name.lower() not in PICTURE_FOLDERS]
    for other in others:
        if not os.path.samefile(other, root):
            there = [name for name in names if os.path.isfile(other / name)]
            taken, left = (os.path.relpath(folder, file.parent) for folder in (root, other))
            line = f"{count(len(there), 'picture')} of {left} passed over ({some(there, 1)}); those in {taken} are read"
            say_once(str(file), f"{file.name}: {line}.")
    return root
