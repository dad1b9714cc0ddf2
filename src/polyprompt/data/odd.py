"""Captions that a program has damaged on their way: some are refused, the others told. None is changed."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Sequence

from polyprompt.data.messages import count, say_once
from polyprompt.data.rows import EMPTY, Row
from polyprompt.errors import DataError

ENTITY = re.compile(r"&(amp|lt|gt|quot|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
"""A sign as HTML writes it."""
MISREAD = ("\ufffd", "Ã©", "Ã¨", "Ã¼", "Ã¶", "Ã¤", "Ã±", "â€™", "â€œ", "â€“", "Â ")
"""UTF-8 that was read as another encoding."""


def refuse_list(caption: str, where: str) -> None:
    """A list that stands in a cell as text is refused: its brackets would be learned.

    Raises:
        DataError: the caption is a list, tuple, set or dictionary of strings as Python or JSON write them.
    """
    if is_list(caption):
        raise DataError(
            f"{where}: the caption is a list written as text, {caption!r:.80}; give each caption a row of its own, or "
            "a list in a .jsonl table"
        )


def is_list(text: str) -> bool:
    """Whether a text is a list, tuple, set or dictionary of strings as Python or JSON write them, or an empty one."""
    if text[:1] not in ("[", "(", "{") or text[-1:] not in ("]", ")", "}"):
        return False
    try:
        value = ast.parse(text, mode="eval").body  # not literal_eval: JSON's null and Python's nan are names
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    if not isinstance(value, ast.List | ast.Tuple | ast.Set | ast.Dict):
        return False
    parts = value.keys if isinstance(value, ast.Dict) else value.elts
    return not parts or any(map(_is_text_or_null, parts))


def _is_text_or_null(part: ast.expr | None) -> bool:
    if isinstance(part, ast.Name):
        return part.id.casefold() in EMPTY
    return isinstance(part, ast.Constant) and isinstance(part.value, str | None)


def warn(name: str, place: str, rows: Sequence[Row]) -> None:
    """Says how many captions look damaged, by kind, and how many a picture has twice."""
    warn_of_damage(name, place, "caption", [(row.where, row.caption) for row in rows if row.caption])
    doubled = Counter((row.key, row.caption.strip()) for row in rows if row.caption)
    if twice := [pair for pair, times in doubled.items() if times > 1]:
        more = sum(doubled[pair] - 1 for pair in twice)
        repeats = count(more, "caption repeats", "captions repeat")
        say_once(place, f"{name}: {repeats} another one of the same picture ({twice[0][0]}: {twice[0][1]!r:.80}).")


def warn_of_damage(name: str, place: str, thing: str, texts: Sequence[tuple[str, str]]) -> None:
    """Says how many texts, each with its place, look damaged, by kind."""
    for test, what in KINDS:
        if damaged := [(where, text) for where, text in texts if test(text.strip())]:
            (where, text), *_ = damaged
            say_once(place, f"{name}: {count(len(damaged), thing)} {what} ({where}: {text!r:.80}).")


def _quoted(caption: str) -> bool:
    """Quotes doubled and put around, as a csv has them, in a table where a quote is an ordinary letter."""
    inner = caption[1:-1]
    return (
        len(caption) > 2 and caption[0] == caption[-1] == '"' and '""' in inner and '"' not in inner.replace('""', "")
    )


KINDS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda caption: caption.casefold() in EMPTY, "may stand for none"),
    (_quoted, "keep a csv's doubled quotes; save the table without quoting, or as .csv"),
    (lambda caption: any(part in caption for part in MISREAD), "look like text read in a wrong encoding"),
    (
        lambda caption: "\n" in caption or "\r" in caption,
        "hold line breaks; a quote left open in a csv takes the next lines in",
    ),
    (lambda caption: caption[:2] in ("b'", 'b"') and caption[-1:] == caption[1], "are bytes as Python writes them"),
    (lambda caption: ENTITY.search(caption) is not None, "hold signs as HTML writes them"),
)
