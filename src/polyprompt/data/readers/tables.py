"""Tables of captions: csv (comma, quotes), tsv (tab, a quote is an ordinary letter), jsonl (one object a line).

The first line names the columns. Pictures are named relative to the table's folder, or to `images/` inside it. A cell
of a jsonl table may hold a list of captions.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polyprompt.data.items import Picture, find_picture, key_of
from polyprompt.data.rows import CAPTION, IMAGE, SPLIT, Row, column, optional_column, texts
from polyprompt.errors import DataError

NAMES = ("captions.csv", "captions.tsv", "captions.jsonl", "metadata.csv", "metadata.jsonl")
"""What a table in a folder is called; the last two are the names that Hugging Face's image folders use."""

csv.field_size_limit(1 << 24)  # the default refuses captions above 131,072 letters


def fits(source: str) -> bool:
    """Whether this is a table, or a folder with one."""
    path = Path(source)
    return path.suffix.lower() in (".csv", ".tsv", ".jsonl") or any((path / name).is_file() for name in NAMES)


def rows(source: str) -> Iterator[Row]:
    """One row per caption.

    Raises:
        DataError: the file is missing, not UTF-8, not well formed, or lacks a column; the message names file and line.
    """
    table = table_of(Path(source))
    found: dict[str, Picture | None] = {}
    names: tuple[str, str, str | None] | None = None
    for line, cells in records(table):
        where = f"{table.name}, line {line}"
        if names is None:
            columns = list(cells)
            names = (
                column(columns, IMAGE, "picture", table.name),
                column(columns, CAPTION, "caption", table.name),
                optional_column(columns, SPLIT),
            )
        image, caption, split = (cells.get(name) if name else None for name in names)
        if not isinstance(image, str):
            raise DataError(f"{where}: {names[0]} is {image!r:.80}; give the name of a picture")
        key = key_of(image)
        if key not in found:
            found[key] = find_picture(table.parent, key)
        for text in texts(caption, where):
            yield Row(where, key, found[key], text, str(split) if split else None)


def table_of(path: Path) -> Path:
    """The table itself: `path`, or the one inside it.

    Raises:
        DataError: the folder holds several.
    """
    if not path.is_dir():
        return path
    inside = [path / name for name in NAMES if (path / name).is_file()]
    if len(inside) > 1:
        raise DataError(f"{path}: holds {' and '.join(p.name for p in inside)}; name the table itself, {inside[0]}")
    return inside[0]


def records(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and cells by column name of each record of a csv, tsv or jsonl file; empty lines are passed over."""
    try:
        with table.open(encoding="utf-8-sig", newline="" if table.suffix.lower() == ".csv" else "\n") as file:
            if table.suffix.lower() == ".jsonl":
                for line, text in enumerate(file, 1):
                    if text.strip():
                        yield line, _object(text, f"{table.name}, line {line}")
                return
            if table.suffix.lower() == ".csv":
                reader = csv.reader(file, strict=True)
                lines = ((reader.line_num, cells) for cells in reader)
            else:  # by hand: the csv module would also end a line at a lone carriage return
                stripped = (text.removesuffix("\n").removesuffix("\r") for text in file)
                lines = ((line, text.split("\t") if text else []) for line, text in enumerate(stripped, 1))
            yield from _named(lines, table.name)
    except FileNotFoundError:
        raise DataError(f"{table}: no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{table}: byte {error.start} is not UTF-8; save the table as UTF-8") from None
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror})") from None


def _named(lines: Iterator[tuple[int, list[str]]], table: str) -> Iterator[tuple[int, dict[str, str]]]:
    header: list[str] | None = None
    line = 1
    try:
        for line, cells in lines:
            if not cells:
                continue
            if header is None:
                header = cells
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{table}, line {line}: {len(cells)} fields, but the first line names {len(header)} columns; "
                    "a separator inside a field must be quoted (csv) or taken out (tsv)"
                )
            yield line, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{table}, near line {line + 1}: not well-formed csv ({error}); check the quotes") from None


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise DataError(f"{where}: is a {type(found).__name__}; each line must be one object in braces")
    return found
