"""A folder per class, called like the class; `classnames.txt` beside them gives other names.

`classnames.txt` (CoOp's): a folder and its name in each line, "n01440764 tench", in the order of the labels. Without it
classes are in the order of their folders' names, and folders called by numbers or WordNet ids are refused later on.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from polyprompt.data.files import Walk, class_list, first_files, folder_name, readable, visible_folders
from polyprompt.data.items import Picture
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.names import LIST, read_class_list
from polyprompt.data.readers.hub import SAVED_SPLITS
from polyprompt.data.rows import Row
from polyprompt.errors import DataError
from polyprompt.media.pictures import file_bytes
from polyprompt.media.suffixes import SEEN

WHAT = "a folder with one folder per class"


def fits(source: str) -> bool:
    """Whether this is a folder with folders in it, other than those of splits that the datasets library has saved."""
    if not os.path.isdir(source) or os.path.isfile(os.path.join(source, SAVED_SPLITS)):
        return False
    return bool(visible_folders(Path(source)))


def rows(source: str) -> Iterator[Row]:
    """One row per picture, class by class, sorted by path, so that all machines see one order.

    Raises:
        DataError: a class folder without pictures, or one that `classnames.txt` does not name.
    """
    root = Path(source)
    walk = Walk(root)
    named = names_of(root)
    folders = visible_folders(root)
    for folder in folders:
        if named and folder not in named:
            raise DataError(f"{root / folder}: {LIST} does not name this folder; add it, or remove the folder")
        files = walk.files(root / folder)
        if not files:
            raise DataError(f"{root / folder}: a class folder without pictures; add some or remove it")
        label, name = (list(named).index(folder), named[folder]) if named else (folder, None)
        for file in files:
            key = readable(file.relative_to(root).as_posix())
            yield Row(str(file), key, Picture(key, partial(file_bytes, file)), label=label, class_name=name)
    _warn_of_loose(root)
    _warn_of_layers(root)
    walk.note_broken(root)
    if bare := [f"{folder} {name}" for folder, name in named.items() if folder not in folders]:
        number = count(len(bare), "class has", "classes have")
        say_once(str(root), f"{folder_name(root)}: {number} a line in {LIST}, but no folder ({some(bare)}).")
    walk.warn()


def classes(root: Path) -> dict[str | int, str]:
    """Label and name of each class folder that has both."""
    named = names_of(root)
    if not named:
        return {folder: folder for folder in visible_folders(root)}
    return {list(named).index(folder): named[folder] for folder in visible_folders(root) if folder in named}


def names_of(root: Path) -> dict[str, str]:
    """The class name of each folder by `classnames.txt`, in the folder or in the one above it; none without it."""
    file = class_list(root) or class_list(root.parent)
    return read_class_list(file) if file else {}


def _warn_of_loose(root: Path) -> None:
    loose = [name for name in sorted(first_files(root, 10_000)) if Path(name).suffix.lower() in SEEN]
    if loose:
        number = count(len(loose), "picture")
        say_once(
            str(root),
            f"{folder_name(root)}: left out {number} beside the class folders ({some(loose)}); they have no class.",
        )


def _warn_of_layers(root: Path) -> None:
    """Says where all folders hold folders of the same names: these may be the classes, and the folders splits."""
    folders = visible_folders(root)
    inside = [set(visible_folders(root / name)) for name in folders if not first_pictures(root / name)]
    if not folders or len(inside) < len(folders) or len(same := set.intersection(*inside)) < 2:
        return
    line = f"{some(folders)} are read as classes, but all hold the folders {some(sorted(same))}; if these are the "
    line += "classes, give one of the outer folders, or call them train, val and test"
    if len(folders) == 1:
        line = f"{folders[0]} is read as the one class, but holds the folders {some(sorted(same))}; if these are the "
        line += f"classes, or splits, give {root / folders[0]}"
    say_once(str(root), f"{folder_name(root)}: {line}.")


def first_pictures(folder: Path) -> list[str]:
    """A few of the pictures right in a folder."""
    return [name for name in sorted(first_files(folder)) if Path(name).suffix.lower() in SEEN]
