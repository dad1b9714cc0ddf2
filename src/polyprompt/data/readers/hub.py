"""Hugging Face `datasets`: a folder written by `save_to_disk`, or `hf:name` (`hf:name:config`) from the hub.

The picture's column is the one of type `Image`; the captions' has a usual name and holds a string or a list of them.
Rows with the same picture (same path, same bytes) are one picture with several captions.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyprompt.data.items import Picture
from polyprompt.data.rows import CAPTION, SPLIT, Row, column, optional_column, texts
from polyprompt.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

PREFIX = "hf:"


def fits(source: str) -> bool:
    """Whether this is `hf:name`, or a folder written by `save_to_disk`."""
    return source.startswith(PREFIX) or any(
        (Path(source) / name).is_file() for name in ("state.json", "dataset_dict.json")
    )


def rows(source: str) -> Iterator[Row]:
    """One row per caption, split by split.

    Raises:
        DataError: the library is not installed, the data set cannot be opened, or lacks a column.
    """
    for split, dataset in _splits(source).items():
        yield from _rows_of(dataset, split, source)


def _splits(source: str) -> dict[str | None, "Dataset"]:
    try:
        from datasets import Dataset, load_dataset, load_from_disk
    except ImportError:
        raise DataError(f"{source}: needs the datasets library; pip install 'polyprompt[data]'") from None
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


def _rows_of(dataset: "Dataset", split: str | None, source: str) -> Iterator[Row]:
    from datasets import Image

    place = source if split is None else f"{source}, {split}"
    names = list(dataset.column_names)
    images = [name for name in names if isinstance(dataset.features[name], Image)]
    if len(images) != 1:
        raise DataError(
            f"{place}: needs one column of type Image, has {len(images)}; found {', '.join(map(repr, names))}"
        )
    captions = dataset[column(names, CAPTION, "caption", place)]
    split_name = optional_column(names, SPLIT)
    splits = dataset[split_name] if split_name else None
    encoded = dataset.select_columns(images).cast_column(images[0], Image(decode=False))
    first: dict[str, Picture] = {}
    for number, (caption, path) in enumerate(zip(captions, _paths(encoded, images[0]), strict=True)):
        where = f"{place}, row {number}"
        picture = None
        key = f"{split or 'row'}/{number}"
        if path is not None:
            picture = Picture(f"{split or 'row'}/{path or number}", partial(read_cell, encoded, images[0], number))
            if path and first.setdefault(path, picture).digest() != picture.digest():  # "image.png" in every row
                picture = replace(picture, key=f"{picture.key}#{number}")
            key = picture.key
        for text in texts(caption, where):
            yield Row(where, key, picture, text, str(splits[number]) if splits else split)


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
        OSError: that file cannot be read.
    """
    cell = encoded[number][image]
    return cell["bytes"] or Path(cell["path"]).read_bytes()
