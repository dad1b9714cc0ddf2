"""Class names: what may be one, and lists of them in files."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from polyprompt.data.text_files import text_in
from polyprompt.errors import DataError

LIST = "classnames.txt"
"""A file beside class folders that says what to call them: a folder and its name in each line, as CoOp has it."""


def check_class_names(
    class_names: Sequence[str], where: str = "", *, twins: Iterable[str] = (), least: int = 2
) -> tuple[str, ...]:
    """Class names as they are, once it is clear that a text model can tell them apart.

    Args:
        class_names: in the order of their labels.
        where: what errors begin with.
        twins: names that two classes may share, because the published set has it so.
        least: how many there must be.

    Raises:
        DataError: one text in place of a list, a number among them, too few, an empty one, half a character in one,
            two that read the same.
    """
    place = f"{where}: " if where else ""
    if isinstance(class_names, str):
        raise DataError(f"{place}the class names are one text, {class_names!r}; give a list: [{class_names!r}, ...]")
    if other := [name for name in class_names if not isinstance(name, str)]:
        raise DataError(f"{place}class name {other[0]!r} is a {type(other[0]).__name__}; give names as texts")
    if len(class_names) < least:
        raise DataError(
            f"{place}{len(class_names)} class{'' if class_names else 'es'} ({', '.join(class_names) or 'none'}); "
            "telling classes apart needs at least two"
        )
    shared = {spelt(name) for name in twins}
    seen: dict[str, str] = {}
    for name in class_names:
        refuse_half_characters(name, f"{place}class name {name!r}")
        if not (key := spelt(name)):
            raise DataError(f"{place}class name {name!r} is empty; every class needs a name to prompt with")
        if key in seen and key not in shared:
            raise DataError(f"{place}the classes {seen[key]!r} and {name!r} have one name for a text model; rename one")
        seen[key] = name
    return tuple(class_names)


def spelt(name: str) -> str:
    """What a text model makes of a name: no underscores, no upper case (CLIP's tokenizer knows none), single blanks."""
    return " ".join(unicodedata.normalize("NFKC", name).replace("_", " ").casefold().split())


def is_code(name: str) -> bool:
    """Whether a name is no word: a number, signs alone, or a WordNet id such as n01440764."""
    return not any(letter.isalpha() for letter in name) or re.fullmatch(r"n\d{8}", name) is not None


def is_placeholder(name: str) -> bool:
    """Whether a name only counts: class_1, "Label 03", cls-2, c7."""
    return (
        re.fullmatch(r"(class|category|cat|cls|c|label|lbl|l|group|type|id|folder|y)[\W_]*\d+", spelt(name)) is not None
    )


def is_numbered(name: str) -> bool:
    """Whether a number stands before a name: 001.Black_footed_Albatross, n02085620-Chihuahua."""
    return re.fullmatch(r"(n\d{8}|\d{2,})[._-]+[^\W\d].*", name) is not None


def refuse_half_characters(text: str, what: str) -> None:
    """Text that cannot be written as UTF-8 is refused.

    Raises:
        DataError: it holds a lone surrogate.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{what}: letter {error.start}, {text[error.start]!r}, is half a character (a lone surrogate), "
            "or no UTF-8; write it whole"
        ) from None


def read_class_list(file: Path) -> dict[str, str]:
    """Folder and class name of each line, in order: "n01440764 tench"; the first blank separates.

    Raises:
        DataError: as `text_in`; a line without a name, a folder that is named twice.
    """
    name_of: dict[str, str] = {}
    for number, line in enumerate(text_in(file).splitlines(), 1):
        folder, _, name = line.strip().partition(" ")
        if not folder:
            continue
        if not name.strip():
            raise DataError(
                f"{file.name}, line {number}: {line!r} has no class name; write the folder, a blank, a name"
            )
        if folder in name_of:
            raise DataError(f"{file.name}, line {number}: the folder {folder!r} has a name already")
        name_of[folder] = name.strip()
    return name_of
