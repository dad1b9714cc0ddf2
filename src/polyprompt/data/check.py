"""Whether a published set is whole where it lies: its layout, its counts, and a sample of its pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from polyprompt.data import catalog
from polyprompt.data.captions import readable_ones
from polyprompt.data.entry import Entry
from polyprompt.data.items import Picture
from polyprompt.data.json_files import forget
from polyprompt.data.messages import count, some
from polyprompt.data.rows import Row
from polyprompt.data.source import open_source
from polyprompt.errors import DataError


@dataclass(frozen=True)
class Finding:
    """What was seen of one part and split."""

    what: str
    """ "train", "photo", "1k-a test"."""
    result: str
    whole: bool


def check(name: str, root: Path, *, sample: int = 50) -> list[Finding]:
    """A finding for each part and split of a set.

    Args:
        name: of the catalogue; with a part ("pacs:photo"), that one alone.
        root: the folder with all data sets in it, or the set's own.
        sample: pictures of each split to open, evenly spaced over it.

    Raises:
        UnknownNameError: there is no such set.
    """
    set_name, _, part = name.partition(":")
    entry = catalog.entry(set_name)
    known = catalog.known(set_name) or set_name
    parts = (entry.part(known, part),) if part else entry.parts or ("",)
    return [
        _finding(entry, known, one, split, root, sample) for one in parts for split in entry.splits_in(one) or (None,)
    ]


def _finding(entry: Entry, name: str, part: str, split: str | None, root: Path, sample: int) -> Finding:
    what = " ".join(word for word in (part, split) if word) or "all"
    source = f"{name}:{part}" if part else name
    expected = entry.expected(entry.counts, part, split)
    try:
        opened = open_source(f"{source}@{root}" if entry.folders else source, entry.holds)
        rows = [row for row in opened.rows(split) if split is None or row.split == split]
    except DataError as error:
        return Finding(what, str(error), False)
    finally:
        forget()
    if entry.holds == "scores":
        return _counted(what, "pair", len(rows), expected, [])
    first = split == next(iter(entry.splits_in(part)), None)
    faults = list(_faults(entry, [row for row in rows if isinstance(row, Row)], first))
    pictures = {row.key: row.picture for row in rows if isinstance(row, Row) and row.picture is not None}
    faults += _unreadable(list(pictures.values()), sample)
    texts = entry.expected(entry.captions, part, split)
    if texts is not None and texts != len(rows):
        faults.append(f"{count(len(rows), 'caption')} of {texts:,}")
    return _counted(what, "picture", len(pictures), expected, faults)


def _faults(entry: Entry, rows: list[Row], first: bool) -> Iterator[str]:
    """What is missing among the rows; of the first split, which has all classes, some of these, too."""
    missing = {row.key: row.where for row in rows if row.picture is None}
    if missing:
        yield f"{count(len(missing), 'picture is', 'pictures are')} missing ({some(list(missing))})"
    classes = {row.label for row in rows if row.label is not None}
    if first and entry.holds == "labels" and len(classes) != entry.classes:
        yield f"{count(len(classes), 'class', 'classes')} of {entry.classes}"


def _unreadable(pictures: list[Picture], sample: int) -> list[str]:
    most = min(sample, len(pictures))
    _, bad = readable_ones([pictures[i * len(pictures) // most] for i in range(most)])
    return [f"{count(len(bad), 'picture')} of the sample cannot be read ({bad[0]})"] if bad else []


def _counted(what: str, thing: str, number: int, expected: int | None, faults: list[str]) -> Finding:
    result = count(number, thing)
    if expected is not None and expected != number:
        faults = [f"{number:,} of {expected:,} {thing}s", *faults]
    return Finding(what, "; ".join(faults) or result, not faults)
