"""Image-caption data wherever it lies: tables, Karpathy's JSON, webdataset tars, Hugging Face `datasets`, OpenMoji.

Captions are text and stay as they are written, special-token strings and control characters included; only white space
around them is taken off. A new format is one file in `readers/` with `fits` and `rows`, and its name in `READERS`.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from polyprompt.data.items import Pairs, Picture
from polyprompt.data.readers import hub, karpathy, tables, tars
from polyprompt.data.rows import Row
from polyprompt.disk.files import digest
from polyprompt.errors import DataError, ImageError, UnknownNameError
from polyprompt.progress import say, track

READERS = (hub, tables, karpathy, tars)
"""Asked in this order whether a source is theirs."""

DEV = ("dev", "val", "valid", "validation")
"""Names of one split; whichever of them is asked for, the one that the data has is taken."""


class BadPicturesError(DataError):
    """More pictures are missing or unreadable than allowed; `lines` says of each what is wrong, one line each."""

    def __init__(self, name: str, lines: Sequence[str], allowed: int) -> None:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        super().__init__(
            f"{name}: {lines[0]}{more}. Mend or remove it, or let up to {max(len(lines), 10)} pictures "
            f"be skipped (max_bad, now {allowed})."
        )
        self.lines = tuple(lines)


def read_pairs(source: str, split: str | None = None, *, max_bad: int = 0) -> Pairs:
    """Pictures with their captions, in the order of the source.

    Args:
        source: a table (.csv, .tsv, .jsonl) or a folder with one called `captions`; Karpathy's JSON; webdataset tars or
            a folder of them; a folder that `datasets` saved, or "hf:name"; "openmoji", "openmoji:lines".
        split: "train", or several: "train+restval". All of them if not given. Of data without splits a tenth of the
            pictures is "test" and a tenth "dev", at least one each, drawn by their keys: always the same ones.
        max_bad: how many pictures may be missing or unreadable; they are left out with their captions, and listed in
            `Pairs.skipped` and on stderr. With 0, files are only looked for, and one that is unreadable raises when it
            is opened; above 0, each is opened once now.

    Raises:
        UnknownNameError: there is no such split; near names are offered.
        BadPicturesError: more than `max_bad` pictures are missing or unreadable.
        DataError: no pictures, an empty caption, or a source that cannot be read as what it seems to be.
    """
    if source in ("openmoji", "openmoji:lines"):
        from polyprompt.data.catalog.openmoji import openmoji

        return openmoji(split, lines=source.endswith(":lines"))
    reader = next((reader for reader in READERS if reader.fits(source)), None)
    if reader is None:
        raise DataError(
            f"{source}: {'no captions found in it' if Path(source).exists() else 'no such file or folder'}. "
            f"Give a folder with {', '.join(tables.NAMES[:3])} or *.tar, a Karpathy JSON, a folder saved by datasets, "
            "hf:NAME or openmoji."
        )
    pairs = _assemble(Path(source).name, reader.rows(source), split, max_bad)
    if max_bad:
        pairs = skip_unreadable(pairs, max_bad)
    for line in pairs.skipped:
        say(f"{pairs.name}: left out, {line}")
    return pairs


def skip_unreadable(pairs: Pairs, max_bad: int) -> Pairs:
    """The pairs whose pictures can be opened; each picture is opened once, on all processors.

    Raises:
        BadPicturesError: more than `max_bad` are skipped, those in `pairs.skipped` included.
        DataError: none is left.
    """
    good, bad = [], list(pairs.skipped)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for image, error in enumerate(
            track(threads.map(_error_of, pairs.images), "Opening pictures", len(pairs.images))
        ):
            if error is None:
                good.append(image)
            else:
                bad.append(error)
    if len(bad) > max_bad:
        raise BadPicturesError(pairs.name, bad, max_bad)
    return pairs.keep(good, skipped=bad)


def _error_of(picture: Picture) -> str | None:
    try:
        picture.open()
    except ImageError as error:
        return str(error)
    return None


def _assemble(name: str, rows: Iterable[Row], split: str | None, max_bad: int) -> Pairs:
    images: dict[str, Picture] = {}
    number_of: dict[str, int] = {}
    missing: dict[str, str] = {}
    captions: list[str] = []
    image_of: list[int] = []
    for row in rows if split is None else _in_split(name, list(rows), split):
        caption = _checked(row)
        if row.picture is None:
            missing.setdefault(row.key, f"{row.where}: no picture {row.key!r}")
            continue
        images.setdefault(row.key, row.picture)
        image_of.append(number_of.setdefault(row.key, len(number_of)))
        captions.append(caption)
    if len(missing) > max_bad:
        raise BadPicturesError(name, list(missing.values()), max_bad)
    if not images:
        raise DataError(f"{name}: no pictures; the data has no rows")
    name = name if split is None else f"{name}:{split}"
    return Pairs(name, tuple(images.values()), tuple(captions), tuple(image_of), tuple(missing.values()))


def _in_split(name: str, rows: list[Row], split: str) -> list[Row]:
    """The rows of one split, or of several with + between them."""
    if not any(row.split for row in rows):
        drawn = _drawn_splits(name, [row.key for row in rows])
        rows = [replace(row, split=drawn[row.key]) for row in rows]
    splits = {row.split for row in rows if row.split}
    wanted = {_own_name(name, one, splits) for one in split.split("+")}
    return [row for row in rows if row.split in wanted]


def _own_name(name: str, split: str, splits: set[str]) -> str:
    """What the data calls a split."""
    for one in (split, *(DEV if split in DEV else ())):
        if one in splits:
            return one
    raise UnknownNameError(f"split of {name}", split, splits)


def _drawn_splits(name: str, keys: Iterable[str]) -> dict[str, str]:
    """A split for each picture, decided by the keys alone."""
    order = sorted(set(keys), key=digest)
    tenth = max(len(order) // 10, 1)
    if len(order) < 3:
        raise DataError(f"{name}: {len(order)} pictures are too few to draw splits from; add a column 'split'")
    say(f"{name}: no splits given, so {tenth} of its {len(order):,} pictures are test and {tenth} dev, by their names.")
    return {key: "test" if i < tenth else "dev" if i < 2 * tenth else "train" for i, key in enumerate(order)}


def _checked(row: Row) -> str:
    caption = row.caption.strip()
    if not caption:
        raise DataError(f"{row.where}: the caption of {row.key} is empty; write one or delete the row")
    try:
        caption.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{row.where}: letter {error.start} of the caption, {caption[error.start]!r}, is half a character "
            "(a lone surrogate); write it whole"
        ) from None
    return caption
