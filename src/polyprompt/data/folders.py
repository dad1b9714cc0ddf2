"""Pictures for classification: folders named like their classes, tables of path and label, CoOp's split files."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyprompt.data.items import Labelled, Picture, find_picture, key_of
from polyprompt.data.readers.tables import records
from polyprompt.data.rows import IMAGE, SPLIT, column, optional_column
from polyprompt.disk.files import read_json
from polyprompt.errors import DataError, FileError, UnknownNameError

LABEL = ("label", "labels", "class", "target", "category")
CLASS_NAME = ("class_name", "classname", "label_name", "category_name")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2"}
)


@dataclass(frozen=True)
class _Item:
    where: str
    picture: Picture
    class_name: str


def read_labelled(source: str, split: str | None = None, *, class_names: Sequence[str] | None = None) -> Labelled:
    """Pictures with their classes.

    Three kinds of source: a folder with one folder per class (or with `train/`, `test/`, ... that hold those); a table
    (.csv, .tsv, .jsonl) with the columns path and label, a column class_name where labels are numbers, and a column
    split if it has splits; a CoOp split file (`split_zhou_*.json`), the pictures beside it or in a folder beside it.

    Args:
        source: the folder or the file.
        split: "train", "val", "test", or what the source calls it. Needed if the source has splits.
        class_names: the classes in the order in which labels count, for a second set that is to share the labels of a
            first; some of them may have no pictures. If not given: sorted, or the split file's own order.

    Raises:
        UnknownNameError: there is no such split.
        DataError: no pictures, one class only, a class without pictures, two classes with one name, a label that does
            not match its folder or the given classes, a missing picture.
    """
    path = Path(source)
    if path.is_dir():
        items, names = _from_folders(path, split)
    elif path.suffix.lower() == ".json":
        items, names = _from_split_file(path, split)
    elif path.suffix.lower() in (".csv", ".tsv", ".jsonl"):
        items, names = _from_table(path, split)
    else:
        raise DataError(
            f"{source}: {'not a set of labelled pictures' if path.exists() else 'no such file or folder'}. "
            "Give a folder with one folder per class, a .csv of path and label, or a CoOp split file (.json)."
        )
    name = path.name if path.is_dir() else path.stem
    return _labelled(name if split is None else f"{name}:{split}", items, class_names or names)


def splits_of(source: str) -> tuple[str, ...]:
    """The splits that a source of labelled pictures has; none for plain class folders, say.

    Raises:
        DataError: a table or a split file that cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        inside = _visible(path)
        return tuple(inside) if {"train", "test"} <= set(inside) else ()
    if path.suffix.lower() == ".json" and path.exists():
        return tuple(part for part, listed in _split_file(path).items() if listed)
    if path.suffix.lower() in (".csv", ".tsv", ".jsonl") and path.exists():
        named = {str(cells[name]) for _, cells in records(path) if (name := optional_column(list(cells), SPLIT))}
        return tuple(sorted(named))
    return ()


def _labelled(name: str, items: Sequence[_Item], class_names: Sequence[str]) -> Labelled:
    if len(class_names) < 2:
        raise DataError(
            f"{name}: {len(class_names)} class{'' if class_names else 'es'} ({', '.join(class_names) or 'none'}); "
            "telling classes apart needs at least two"
        )
    number = {class_name: i for i, class_name in enumerate(class_names)}
    for item in items:
        if item.class_name not in number:
            raise DataError(
                f"{item.where}: class {item.class_name!r} is not among the {len(number)} expected "
                f"({', '.join(class_names[:8])}{', ...' if len(class_names) > 8 else ''}); rename it or take it out"
            )
    return Labelled(
        name,
        tuple(item.picture for item in items),
        tuple(number[item.class_name] for item in items),
        tuple(class_names),
    )


def _from_folders(root: Path, split: str | None) -> tuple[list[_Item], list[str]]:
    """Every picture below each folder of `root`, sorted by path, so that all machines see one order."""
    inside = _visible(root)
    if split is not None:
        if split not in inside:
            raise UnknownNameError(f"split of {root.name} (a folder in it)", split, inside)
        root = root / split
        inside = _visible(root)
    elif inside and {"train", "test"} <= set(inside):
        raise DataError(f"{root}: holds the splits {', '.join(inside)}; choose one")
    items: list[_Item] = []
    for name in inside:
        files = sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        keys = [path.relative_to(root).as_posix() for path in files if not path.name.startswith(".")]
        if not keys:
            raise DataError(f"{root / name}: a class folder without pictures; add some or remove it")
        items += [_item(root, key, name, str(root / key)) for key in keys]
    return items, inside


def pictures_in(folder: Path) -> list[Path]:
    """Every picture below a folder, by its ending, sorted; none that is hidden.

    Raises:
        DataError: there are none.
    """
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not (found := sorted(path for path in files if not path.name.startswith("."))):
        raise DataError(f"{folder}: no pictures in it. Give a folder with {', '.join(sorted(SUFFIXES))} files.")
    return found


def _visible(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _from_table(table: Path, split: str | None) -> tuple[list[_Item], list[str]]:
    items: list[_Item] = []
    splits: set[str] = set()
    name_of: dict[str, tuple[str, str]] = {}
    label_of: dict[str, tuple[str, str]] = {}
    for line, cells in records(table):
        where = f"{table.name}, line {line}"
        columns = list(cells)
        image = str(cells[column(columns, IMAGE, "picture", where)])
        name_column = optional_column(columns, CLASS_NAME)
        label_column = column(columns, LABEL if name_column is None else (*LABEL, *CLASS_NAME), "label", where)
        label = str(cells[label_column]).strip()
        name = str(cells[name_column]).strip() if name_column else label
        if not name:
            raise DataError(f"{where}: the class of {image} is empty; name it or delete the row")
        if name.lstrip("-").isdecimal() and name_column is None:
            raise DataError(
                f"{where}: {label_column} is {label}, a number; a text model needs names, add a column class_name"
            )
        _agree(name_of, label, name, where)
        _agree(label_of, name, label, where)
        this_split = cells[split_column] if (split_column := optional_column(columns, SPLIT)) else None
        if this_split is not None:
            splits.add(str(this_split))
        if split is None or this_split == split:
            items.append(_item(table.parent, key_of(image), name, where))
    _check_split(table.name, split, splits)
    _refuse_other_folders(items)
    return items, sorted({item.class_name for item in items})


def _from_split_file(file: Path, split: str | None) -> tuple[list[_Item], list[str]]:
    """`{"train": [[path, label, class name], ...], "val": [...], "test": [...]}` (CoOp, Zhou et al. 2022)."""
    content = _split_file(file)
    _check_split(file.name, split, set(content))
    name_of: dict[str, tuple[str, str]] = {}
    label_of: dict[str, tuple[str, str]] = {}
    entries: list[tuple[str, str, str]] = []
    for part, listed in content.items():
        for i, entry in enumerate(listed):
            where = f"{file.name}, {part}[{i}]"
            match entry:
                case [str(image), int(label), str(name)]:
                    _agree(name_of, str(label), name, where)
                    _agree(label_of, name, str(label), where)
                    if part == split:
                        entries.append((where, key_of(image), name))
                case _:
                    raise DataError(f"{where}: is {entry!r:.80}; must be [path, label, class name]")
    root = _root_of(file, entries[0][1]) if entries else file.parent
    items = [_item(root, key, name, where) for where, key, name in entries]
    names = [name for _, name in sorted((int(label), name) for label, (name, _) in name_of.items())]
    return items, names


def _split_file(file: Path) -> dict[str, list[Any]]:
    try:
        content = read_json(file)
    except FileError as error:
        raise DataError(str(error)) from None
    if not isinstance(content, dict) or not all(isinstance(entries, list) for entries in content.values()):
        raise DataError(f"{file}: not a split file; it must be an object with the lists train, val and test")
    return content


def _root_of(file: Path, first: str) -> Path:
    """The folder that the paths start from: the file's own, or one beside it (each data set names it otherwise)."""
    folders = [file.parent, *(file.parent / name for name in _visible(file.parent))]
    return next((folder for folder in folders if os.path.isfile(folder / first)), file.parent)


def _item(root: Path, key: str, class_name: str, where: str) -> _Item:
    if (picture := find_picture(root, key)) is None:
        raise DataError(f"{where}: no picture {key!r} in {root}; put it there or take the line out")
    return _Item(where, picture, class_name)


def _agree(seen: dict[str, tuple[str, str]], one: str, other: str, where: str) -> None:
    """`one` goes with the same other everywhere; called both ways: a label has one name, a name one label."""
    known, first = seen.setdefault(one, (other, where))
    if known != other:
        raise DataError(
            f"{where}: {one!r} goes with {other!r} here, but with {known!r} at {first}; one label, one class name"
        )


def _check_split(name: str, split: str | None, splits: Iterable[str]) -> None:
    known = set(splits)
    if split is None and known:
        raise DataError(f"{name}: has the splits {', '.join(sorted(known))}; choose one")
    if split is not None and not known:
        raise DataError(f"{name}: has no splits; leave split {split!r} out, or add a column 'split'")
    if split is not None and split not in known:
        raise UnknownNameError(f"split of {name}", split, known)


def _refuse_other_folders(items: Sequence[_Item]) -> None:
    """Where pictures lie in folders called like classes, folder and label must agree."""
    names = {item.class_name for item in items}
    folder_of = [Path(item.picture.key).parent.name for item in items]
    if not set(folder_of) <= names:
        return
    for item, folder in zip(items, folder_of, strict=True):
        if folder != item.class_name:
            raise DataError(
                f"{item.where}: {item.picture.key} lies in the folder of class {folder!r}, but its label is "
                f"{item.class_name!r}; move it or correct the label"
            )
