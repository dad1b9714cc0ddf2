"""Tables: csv (comma, quotes), tsv (tab, a quote is an ordinary letter), jsonl (one object a line).

The first line names the columns, in jsonl each line its own: of pictures and their captions, of pictures and their
labels (with a column class_name where labels are numbers), or of two sentences and their score; and a column split, if
there are splits. Pictures are named relative to the table's folder, or to a folder like `images/` inside it. A cell of
a jsonl table may hold a list of captions. Kaggle's `captions.txt` is a csv, its `results.csv` of Flickr30k is separated
by |; a csv whose first line has no comma may have semicolons (Excel's, where numbers have a comma) or tabs.
"""

import csv
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from polyprompt.data.files import TABLES, Places, key_of, matching, the_one
from polyprompt.data.items import Picture
from polyprompt.data.json_files import parsed
from polyprompt.data.rows import (
    CAPTION,
    CLASS_NAME,
    IMAGE,
    LABEL,
    SCORE,
    SENTENCES,
    SPLIT,
    Row,
    ScoredRow,
    column,
    label_or_empty,
    name_in,
    optional_column,
    text_of,
    texts,
    warn_of_choice,
)
from polyprompt.disk.files import check_regular
from polyprompt.errors import DataError
from polyprompt.values import Json

WHAT = "a table (captions.csv, .tsv, .jsonl)"
ENDINGS = (".csv", ".tsv", ".jsonl")

Cells = Json

csv.field_size_limit(1 << 24)  # the default refuses captions above 131,072 letters


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; None for what the table does not have."""

    image: str
    caption: str | None
    split: str | None
    label: str | None
    class_name: str | None


def fits(source: str) -> bool:
    """Whether this is a table, or a folder with one."""
    path = Path(source)
    if os.path.isdir(source):
        return bool(matching(path, *TABLES))
    if path.name.lower() == "captions.txt":
        return os.path.isfile(source)
    return path.suffix.lower() in ENDINGS


def rows(source: str) -> Iterator[Row | ScoredRow]:
    """One row per caption or labelled picture, or per pair of sentences.

    Raises:
        DataError: the file is missing, not UTF-8, not well formed, or lacks a column; the message names file and line.
    """
    table = table_of(Path(source))
    if not (columns := _columns(table)):
        return
    places = Places(table)
    make = _of_sentences(table, columns) or _of_pictures(table, columns, places)
    for line, cells in records(table):
        yield from make(f"{table.name}, line {line}", cells)
    places.warn()


def _columns(table: Path) -> list[str]:
    """What the columns are called: in a jsonl table by any line; none of a table without rows."""
    if table.suffix.lower() == ".jsonl":
        return list(dict.fromkeys(name for _, cells in records(table) for name in cells))
    return list(next(records(table), (1, {}))[1])


def _of_sentences(table: Path, columns: Sequence[str]) -> Callable[[str, Cells], Iterator[ScoredRow]] | None:
    """How to read a row of two sentences and a score; None if the table has no such columns.

    Raises:
        DataError: it has some of them, and none for pictures.
    """
    first, second, score = (optional_column(columns, usual) for usual in (*SENTENCES, SCORE))
    split = optional_column(columns, SPLIT)
    if (first or second) and optional_column(columns, IMAGE) is None:
        for usual, what in zip((*SENTENCES, SCORE), ("first sentence", "second sentence", "score"), strict=True):
            column(columns, usual, what, table.name)
    if not (first and second and score):
        return None
    warn_of_choice(str(table), table.name, columns, *SENTENCES, SCORE, SPLIT)

    def make(where: str, cells: Cells) -> Iterator[ScoredRow]:
        one, other = (text_of(cells.get(name), name, where) for name in (first, second))
        row_split = name_in(cells.get(split), split, where) if split else ""
        yield ScoredRow(where, one, other, number(cells.get(score), where), row_split or None)

    return make


def _of_pictures(table: Path, columns: Sequence[str], places: Places) -> Callable[[str, Cells], Iterator[Row]]:
    """How to read a row of a picture with captions, a label, or both.

    Raises:
        DataError: no column for the picture, or for anything about it.
    """
    names = Columns(
        column(columns, IMAGE, "picture", table.name),
        *(optional_column(columns, usual) for usual in (CAPTION, SPLIT, LABEL, CLASS_NAME)),
    )
    if not (names.caption or names.label or names.class_name):
        column(columns, (*CAPTION, *LABEL), "caption or the label", table.name)
    warn_of_choice(str(table), table.name, columns, IMAGE, CAPTION, SPLIT, LABEL, CLASS_NAME)
    picture_of: dict[str, Picture | None] = {}

    def make(where: str, cells: Cells) -> Iterator[Row]:
        name = cells.get(names.image)
        if not isinstance(name, str):
            raise DataError(f"{where}: {names.image} is {name!r:.80}; give the name of a picture")
        if name not in picture_of:
            picture_of[name] = places.find(name)
        picture = picture_of[name]
        key = picture.key if picture else key_of(name)
        split = name_in(cells.get(names.split), names.split, where) if names.split else ""
        label, class_name = _labels(names, cells, where)
        for text in texts(cells.get(names.caption), where) if names.caption else [None]:
            yield Row(where, key, picture, text, split or None, label, class_name)

    return make


def _labels(names: Columns, cells: Cells, where: str) -> tuple[str | int | None, str | None]:
    """Label and class name of a row, as far as it has them."""
    class_name = None
    if names.class_name:
        class_name = name_in(cells.get(names.class_name), names.class_name, where).strip()
    if names.label is None:
        return class_name, class_name
    return label_or_empty(cells.get(names.label), where), class_name


def number(cell: object, where: str) -> float:
    """A score as a number.

    Raises:
        DataError: it is none, or not finite.
    """
    try:
        value = float(str(cell))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: the score is {cell!r:.80}; give a number")
    return value


def table_of(path: Path) -> Path:
    """The table itself: `path`, or the one inside it.

    Raises:
        SeveralListsError: the folder holds several.
    """
    if not os.path.isdir(path):
        return path
    return the_one(matching(path, *TABLES))


def records(table: Path) -> Iterator[tuple[int, Cells]]:
    """Line number and cells by column name of each record of a csv, tsv or jsonl file; empty lines are passed over."""
    try:
        check_regular(table)
        quoted = table.suffix.lower() == ".csv" or (table.suffix.lower() == ".txt" and not _has_tabs(table))
        with table.open(encoding="utf-8-sig", newline="" if quoted else "\n") as file:
            if table.suffix.lower() == ".jsonl":
                for line, text in enumerate(file, 1):
                    if text.strip():
                        yield line, _object(text, f"{table.name}, line {line}")
                return
            separator = _separator(file) if quoted else "\t"
            if separator == "|":  # Kaggle's Flickr30k
                cut = ([cell.strip() for cell in text.split("|")] if text.strip() else [] for text in file)
                lines = enumerate(cut, 1)
            elif quoted:
                reader = csv.reader(file, strict=True, delimiter=separator)
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


def _has_tabs(table: Path) -> bool:
    """Whether the first line names its columns with tabs between them."""
    with table.open(encoding="utf-8-sig") as file:
        return "\t" in file.readline()


def _separator(file: TextIO) -> str:
    """What stands between the names of columns in the first line: a comma, or where there is none, another sign."""
    first = file.readline()
    file.seek(0)
    return next((sign for sign in (",", "|", ";", "\t") if sign in first), ",")


def _named(lines: Iterable[tuple[int, list[str]]], table: str) -> Iterator[tuple[int, dict[str, str]]]:
    header: list[str] | None = None
    line = 1
    try:
        for line, cells in lines:
            if not cells:
                continue
            if header is None:
                header = cells
                if twice := [name for i, name in enumerate(cells) if name in cells[:i]]:
                    raise DataError(f"{table}: two columns are called {twice[0]!r}; rename one or take it out")
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{table}, line {line}: {len(cells)} fields, but the first line names {len(header)} columns; "
                    "a separator inside a field must be quoted (csv) or taken out (tsv)"
                )
            yield line, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{table}, near line {line + 1}: not well-formed csv ({error}); check the quotes") from None


def _object(text: str, where: str) -> Cells:
    value = parsed(text, where)
    if not isinstance(value, dict):
        raise DataError(f"{where}: is a {type(value).__name__}; each line must be one object in braces")
    return value
