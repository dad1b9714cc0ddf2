"""What every reader yields, one row per caption or labelled picture, and the usual names of columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from polyprompt.data.items import Picture
from polyprompt.data.messages import say_once
from polyprompt.errors import DataError

IMAGE = (
    *("file", "filename", "file_name", "filepath", "file_path", "image", "image_file", "image_name", "image_path"),
    *("path", "img", "picture", "img_path", "video", "video_path"),
)
CAPTION = (
    *("caption", "captions", "text", "texts", "sentence", "sentences", "title", "description", "alt_text", "comment"),
)
SPLIT = ("split", "subset", "partition", "set")
SENTENCES = (("sentence1", "sentence_a", "text1"), ("sentence2", "sentence_b", "text2"))
SCORE = ("score", "relatedness_score", "similarity", "gold")
LABEL = ("label", "labels", "class", "target", "category")
CLASS_NAME = ("class_name", "classname", "label_name", "category_name")

EMPTY = frozenset({"nan", "none", "null", "n/a", "<na>", "undefined"})
"""What programs write for a text that is not there."""
NO_NAME = frozenset({"nan", "null", "<na>"})
"""For a label or a split that is not there; "none" and "undefined" can be what a class is called."""


@dataclass(frozen=True, slots=True)
class Row:
    """One caption, or one labelled picture, as it stands in the source; a row may be both."""

    where: str
    """Place in the source, for errors: "captions.tsv, line 12"."""
    key: str
    """The picture's key; rows with the same key describe the same picture."""
    picture: Picture | None
    """None if the source names a picture that is not there."""
    caption: str | None = None
    split: str | None = None
    label: str | int | None = None
    """What the source files the picture under: a number, a folder's name, a class's name."""
    class_name: str | None = None
    """The name of the label, where the source gives one."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A pair of sentences and people's score of how much they mean the same."""

    where: str
    first: str
    second: str
    score: float
    split: str | None = None


def column(columns: Sequence[str], usual: Sequence[str], what: str, where: str) -> str:
    """The column with one of the usual names; upper and lower case are the same, earlier names win.

    Raises:
        DataError: there is none.
    """
    if (name := optional_column(columns, usual)) is None:
        raise DataError(
            f"{where}: no column for the {what}; found {', '.join(map(repr, columns)) or 'none'}. "
            f"Name it {', '.join(usual[:-1])} or {usual[-1]}."
        )
    return name


def optional_column(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    """As `column`, but None if there is none."""
    lower = {name.strip().lower(): name for name in reversed(columns)}
    return next((lower[name] for name in usual if name in lower), None)


def warn_of_choice(place: str, name: str, columns: Sequence[str], *usual: Sequence[str]) -> None:
    """Says which of several columns of one kind is read; `usual` names the columns of each kind."""
    for kind in usual:
        taken = optional_column(columns, kind)
        others = [repr(other) for other in columns if other.strip().lower() in kind and other != taken]
        if others:
            say_once(place, f"{name}: {taken!r} is read, {', '.join(others)} is passed over.")


def texts(value: object, where: str) -> list[str]:
    """The captions in one cell: a string, or a list of them.

    Raises:
        DataError: it holds anything else, or nothing.
    """
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, Sequence) or not captions or not all(isinstance(text, str) for text in captions):
        raise DataError(f"{where}: the caption is {value!r:.80}; give a string or a list of strings")
    return list(captions)


def is_empty(value: object) -> bool:
    """Whether a cell holds nothing: null, not a number, or a text that is blank or stands for that."""
    if isinstance(value, str):
        return not (text := value.strip()) or text.casefold() in NO_NAME
    return value is None or (isinstance(value, float) and math.isnan(value))


def text_of(value: object, what: str, where: str) -> str:
    """The text in a cell.

    Raises:
        DataError: it holds anything else.
    """
    if not isinstance(value, str):
        raise DataError(f"{where}: {what} is {value!r:.80}; give a text")
    return value


def name_in(value: object, what: str, where: str) -> str:
    """The name in a cell, which may be a number; nothing of an empty one.

    Raises:
        DataError: it is neither text nor a whole number.
    """
    if is_empty(value):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_of(value, what, where)


def label_of(value: object, where: str) -> str | int:
    """A label as it stands in a cell; digits are a number, 3.0 is 3.

    Raises:
        DataError: it is neither text nor a whole number.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: the label is {value!r:.80}; give a name or a whole number")
    text = value.strip()
    whole, point, rest = text.partition(".")  # pandas writes whole numbers as 3.0 where others are missing
    digits = whole if point and rest and not rest.strip("0") else text
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 10 else text


def label_or_empty(value: object, where: str) -> str | int:
    """As `label_of`, but "" for an empty cell: whoever reads the classes refuses that, whoever reads captions does not.

    Raises:
        DataError: as `label_of`.
    """
    return "" if is_empty(value) else label_of(value, where)
