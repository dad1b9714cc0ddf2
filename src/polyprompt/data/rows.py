"""What every reader yields: one row per caption, and the usual names of columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from polyprompt.data.items import Picture
from polyprompt.errors import DataError

IMAGE = (
    *("file", "filename", "file_name", "filepath", "file_path", "image", "image_file", "image_name", "image_path"),
    *("path", "img", "picture", "img_path"),
)
CAPTION = ("caption", "captions", "text", "texts", "sentence", "sentences", "title", "description", "alt_text")
SPLIT = ("split", "subset", "partition", "set")


@dataclass(frozen=True)
class Row:
    """One caption as it stands in the source."""

    where: str
    """Place in the source, for errors: "captions.tsv, line 12"."""
    key: str
    """The picture's key; rows with the same key describe the same picture."""
    picture: Picture | None
    """None if the source names a picture that is not there."""
    caption: str
    split: str | None = None


def column(columns: Sequence[str], usual: Sequence[str], what: str, where: str) -> str:
    """The column with one of the usual names; upper and lower case are the same, earlier names win.

    Raises:
        DataError: there is none.
    """
    if (found := optional_column(columns, usual)) is None:
        raise DataError(
            f"{where}: no column for the {what}; found {', '.join(map(repr, columns)) or 'none'}. "
            f"Name it {', '.join(usual[:-1])} or {usual[-1]}."
        )
    return found


def optional_column(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    """As `column`, but None if there is none."""
    lower = {name.strip().lower(): name for name in reversed(columns)}
    return next((lower[name] for name in usual if name in lower), None)


def texts(value: object, where: str) -> list[str]:
    """The captions in one cell: a string, or a list of them.

    Raises:
        DataError: it holds anything else, or nothing.
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, Sequence) or not found or not all(isinstance(text, str) for text in found):
        raise DataError(f"{where}: the caption is {value!r:.80}; give a string or a list of strings")
    return list(found)
