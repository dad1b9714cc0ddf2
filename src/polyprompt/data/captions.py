"""From the rows of a reader to pictures with captions.

Captions are text and stay as they are written, special-token strings and control characters included; only white space
around them is taken off.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from polyprompt.data import odd
from polyprompt.data.items import Pairs, Picture
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.names import refuse_half_characters
from polyprompt.data.rows import Row
from polyprompt.errors import BadPicturesError, DataError, ImageError
from polyprompt.progress import track


def pairs_of(name: str, place: str, rows: Iterable[Row], max_bad: int) -> Pairs:
    """The captions of some rows, and their pictures.

    Args:
        name: of the result.
        place: the source, for what is told.
        rows: those of the wanted splits.
        max_bad: how many pictures may be missing.

    Raises:
        BadPicturesError: more than `max_bad` are missing.
        DataError: no pictures, an empty caption, or half a character in one.
    """
    images: dict[str, Picture] = {}
    number_of: dict[str, int] = {}
    missing: dict[str, str] = {}
    captions: list[str] = []
    image_of: list[int] = []
    rows = list(rows)
    for row in rows:
        caption = _checked(row)
        if row.picture is None:
            missing.setdefault(row.key, missing_line(row))
            continue
        images.setdefault(row.key, row.picture)
        image_of.append(number_of.setdefault(row.key, len(number_of)))
        captions.append(caption)
    if len(missing) > max_bad:
        raise BadPicturesError(name.partition(":")[0], list(missing.values()), max_bad)
    if not images:
        raise DataError(f"{name}: no pictures; the data has no rows")
    odd.warn(name, place, rows)
    return Pairs(name, tuple(images.values()), tuple(captions), tuple(image_of), tuple(missing.values()))


def missing_line(row: Row) -> str:
    """What is said of a picture that is not there."""
    if row.key == ".":
        return f"{row.where}: no picture, since its name is empty"
    line = f"{row.where}: no picture {row.key!r}"
    if "\\" in row.key:
        line += r" (it is written with \, as on Windows; / was tried, too)"
    return line


def skip_unreadable(pairs: Pairs, max_bad: int) -> Pairs:
    """The pairs whose pictures can be opened; each picture is opened once, on all processors.

    Raises:
        BadPicturesError: more than `max_bad` are skipped, those in `pairs.skipped` included.
        DataError: none is left.
    """
    good, bad = readable_ones(pairs.images)
    bad = [*pairs.skipped, *bad]
    if len(bad) > max_bad:
        raise BadPicturesError(pairs.name, bad, max_bad)
    return pairs.keep(good, skipped=bad)


def readable_ones(pictures: Sequence[Picture]) -> tuple[list[int], list[str]]:
    """Which pictures can be opened, and a line for each of the others."""
    good, bad = [], []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for image, error in enumerate(track(threads.map(_error_of, pictures), "Opening pictures", len(pictures))):
            if error is None:
                good.append(image)
            else:
                bad.append(error)
    return good, bad


def warn_of_skipped(name: str, place: str, skipped: Sequence[str]) -> None:
    """Says which pictures were left out: each of a few, the first of many."""
    for line in skipped[:20]:
        say_once(place, f"{name}: left out, {line}")
    if len(skipped) > 20:
        say_once(place, f"{name}: left out, {count(len(skipped), 'picture')} in all; also {some(skipped[20:], 1)}.")


def _error_of(picture: Picture) -> str | None:
    try:
        picture.open()
    except ImageError as error:
        return str(error)
    return None


def _checked(row: Row) -> str:
    caption = (row.caption or "").strip()
    if not caption:
        raise DataError(f"{row.where}: the caption of {row.key} is empty; write one or delete the row")
    refuse_half_characters(caption, f"{row.where}, the caption")
    odd.refuse_list(caption, row.where)
    return caption
