"""Hugging Face `datasets`: a folder written by `save_to_disk`, or `hf:name` (`hf:name:config`) from the hub.

The picture's column is the one of type `Image`; the captions' has a usual name and holds a string or a list of them,
the label's is a `ClassLabel`, a name, or a number with a column class_name. Rows with the same picture (same path, same
bytes) are one picture with several captions. A set without pictures may hold pairs of sentences with scores.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from polyprompt.data.files import readable
from polyprompt.data.items import Picture
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.readers.tables import number as score_of
from polyprompt.data.rows import (
    CAPTION,
    CLASS_NAME,
    LABEL,
    SCORE,
    SENTENCES,
    SPLIT,
    Row,
    ScoredRow,
    column,
    is_empty,
    label_of,
    name_in,
    optional_column,
    text_of,
    texts,
    warn_of_choice,
)
from polyprompt.errors import DataError, install
from polyprompt.media.pictures import check_bytes, file_bytes
from polyprompt.values import Json

if TYPE_CHECKING:
    from datasets import Dataset

WHAT = "a folder saved by datasets, or hf:NAME"
PREFIX = "hf:"
SAVED_SPLITS = "dataset_dict.json"
"""Lies beside the folders of splits that were saved together."""


def fits(source: str) -> bool:
    """Whether this is `hf:name`, or a folder written by `save_to_disk`."""
    return source.startswith(PREFIX) or any(
        os.path.isfile(os.path.join(source, name)) for name in ("state.json", SAVED_SPLITS)
    )


def rows(source: str) -> Iterator[Row | ScoredRow]:
    """One row per caption or labelled picture, or per pair of sentences, split by split.

    Raises:
        DataError: the library is not installed, the data set cannot be opened, or lacks a column.
    """
    name_of: dict[str | int | None, str] = {}
    seen: set[str | int | None] = set()
    for split, dataset in _splits(source).items():
        name_of |= enumerate(_class_names(dataset))
        for row in _rows_of(dataset, split, source):
            if isinstance(row, Row):
                seen.add(row.label)
            yield row
    if bare := [name for label, name in name_of.items() if label not in seen]:
        say_once(source, f"{source}: {count(len(bare), 'class', 'classes')} without a picture ({some(bare)}).")


def _class_names(dataset: "Dataset") -> Sequence[str]:
    """Of a `ClassLabel`, in order; none where labels are of another type."""
    label = optional_column(list(dataset.column_names), LABEL)
    return getattr(dataset.features.get(label or ""), "names", None) or ()


def _splits(source: str) -> dict[str | None, "Dataset"]:
    try:
        from datasets import Dataset, load_dataset, load_from_disk
    except ImportError:
        raise DataError(f"{source}: needs the package datasets; {install('data')}") from None
    try:
        if source.startswith(PREFIX):
            name, _, config = source.removeprefix(PREFIX).partition(":")
            loaded = load_dataset(name, config or None)
        else:
            loaded = load_from_disk(source)
    except Exception as error:  # the library passes on what the hub, Arrow and the file system raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{source}: the datasets library cannot open it ({first})") from None
    return {None: loaded} if isinstance(loaded, Dataset) else dict(loaded.items())  # pyright: ignore[reportReturnType]


def _rows_of(dataset: "Dataset", split: str | None, source: str) -> Iterator[Row | ScoredRow]:
    from datasets import Image

    place = source if split is None else f"{source}, {split}"
    names = list(dataset.column_names)
    images = [name for name in names if isinstance(dataset.features[name], Image)]
    sentences = [optional_column(names, usual) for usual in (*SENTENCES, SCORE)]
    if not images and all(sentences):
        warn_of_choice(source, source, names, *SENTENCES, SCORE)
        yield from _scored(dataset.select_columns([name for name in sentences if name]), split, place)
        return
    if len(images) != 1:
        raise DataError(
            f"{place}: needs one column of type Image, has {len(images)}; found {', '.join(map(repr, names))}"
        )
    caption, label, class_name = (optional_column(names, usual) for usual in (CAPTION, LABEL, CLASS_NAME))
    if not (caption or label or class_name):
        column(names, (*CAPTION, *LABEL), "caption or the label", place)
    split_name = optional_column(names, SPLIT)
    about = dataset.select_columns([name for name in (caption, label, class_name, split_name) if name])
    known = _class_names(dataset)
    warn_of_choice(source, source, names, CAPTION, SPLIT, LABEL, CLASS_NAME)
    if known and class_name:
        say_once(source, f"{source}: {class_name!r} is read for the names of classes, those of {label!r} passed over.")
    for number, (cells, picture, key) in enumerate(zip(about, *_pictures(dataset, images[0], split), strict=True)):
        cells = cast(Json, cells)
        where = f"{place}, row {number}"
        row_split = (name_in(cells[split_name], split_name, where) if split_name else "") or split
        of = _label(cells, label, class_name, known, where)
        for text in texts(cells[caption], where) if caption else [None]:
            yield Row(where, key, picture, text, row_split, *of)


def _label(
    cells: Json, label: str | None, class_name: str | None, known: Sequence[str], where: str
) -> tuple[str | int | None, str | None]:
    name = name_in(cells[class_name], class_name, where).strip() if class_name else None
    if label is None:
        return name, name
    if is_empty(cells[label]):
        return name or "", name
    given = label_of(cells[label], where)
    if isinstance(given, int) and 0 <= given < len(known):
        return given, name or known[given]
    return given, name


def _scored(dataset: "Dataset", split: str | None, place: str) -> Iterator[ScoredRow]:
    for number, cells in enumerate(dataset):
        where = f"{place}, row {number}"
        *sentences, score = cast(Json, cells).items()
        first, second = (text_of(cell, name, where) for name, cell in sentences)
        yield ScoredRow(where, first, second, score_of(score[1], where), split)


def _pictures(dataset: "Dataset", image: str, split: str | None) -> tuple[list[Picture | None], list[str]]:
    """Each row's picture and key; equal paths are one picture if their bytes are equal, too (else "image.png")."""
    from datasets import Image

    encoded = dataset.select_columns([image]).cast_column(image, Image(decode=False))
    first: dict[str, Picture] = {}
    pictures: list[Picture | None] = []
    keys: list[str] = []
    for number, path in enumerate(_paths(encoded, image)):
        picture = None
        key = f"{split or 'row'}/{number}"
        if path is not None:
            key = readable(f"{split or 'row'}/{path or number}")
            picture = Picture(key, partial(read_cell, encoded, image, number))
            if path and first.setdefault(path, picture).digest() != picture.digest():
                key = f"{key}#{number}"
                picture = replace(picture, key=key)
        pictures.append(picture)
        keys.append(key)
    return pictures, keys


def _paths(encoded: "Dataset", image: str) -> Iterator[str | None]:
    """Each row's path ("" if it has none, None if it has no picture); the pictures' bytes are not touched."""
    from pyarrow import compute

    for table in encoded.with_format("arrow").iter(1000):
        cells: Any = table[image]  # pyright: ignore[reportCallIssue, reportArgumentType]
        paths = compute.struct_field(cells, "path").to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
        for path, filled in zip(paths, cells.is_valid().to_pylist(), strict=True):
            yield (path or "") if filled else None


def read_cell(encoded: "Dataset", image: str, number: int) -> bytes:
    """The bytes of one row's picture, from the table or from the file that it names.

    Raises:
        OSError: that file cannot be read, or there are more than a picture may have.
    """
    cell = encoded[number][image]
    check_bytes(len(cell["bytes"] or b""))
    return cell["bytes"] or file_bytes(cell["path"])
