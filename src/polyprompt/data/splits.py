"""Splits and what they are called: upper and lower case are one, and "dev", "val", "valid", "validation" are one."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from polyprompt.data.messages import count, say_once, some
from polyprompt.data.rows import Row, ScoredRow
from polyprompt.disk.files import digest
from polyprompt.errors import DataError, UnknownNameError

AnyRow = TypeVar("AnyRow", Row, ScoredRow)

SAME = (
    ("train", "training"),
    ("dev", "val", "valid", "validation", "validate", "development", "crossval"),
    ("test", "testing"),
)
"""Names of one split each; whichever is asked for, the one that the data has is taken."""
USUAL = frozenset(name for names in SAME for name in names)
BESIDE = frozenset({"set", "split", "data", "dataset", "images", "imgs"})
"""Words that stand beside a split's name: training_set, val_images."""


def split_folders(names: Iterable[str]) -> list[str]:
    """Those of a folder's subfolders that are splits: two or more called like splits, or all of them.

    A folder `train` among `car` and `bus` is a class; one beside `val` is not.
    """
    names = list(names)
    usual = [name for name in names if split_word(name) in USUAL]
    return usual if len(usual) > 1 or usual == names else []


def split_word(name: str) -> str:
    """What a split is called, without years and words such as "set": "Training_Set" is training, "val2017" val."""
    words = [word for word in re.split(r"[\W\d_]+", name.casefold()) if word and word not in BESIDE]
    return words[0] if len(words) == 1 else name.strip().casefold()


def own_name(name: str, split: str, splits: Iterable[str]) -> str:
    """What the data called `name` calls a split.

    Raises:
        UnknownNameError: it has no such split. DataError: it has several that go by this name.
    """
    known = list(splits)
    asked = split.strip().casefold()
    same = next((names for names in SAME if asked in names), (asked,))
    if split in known:
        return split
    for spellings, normal_form in (((asked,), str.casefold), ((asked,), split_word), (same, split_word)):
        matches = [one for one in known if normal_form(one.strip()) in spellings]
        if len(matches) > 1:
            raise DataError(f"{name}: {split!r} may be {' or '.join(map(repr, matches))}; name the one that is meant")
        if matches:
            return matches[0]
    raise UnknownNameError(f"split of {name}", split, known)


def in_split(name: str, place: str, rows: Iterable[Row], split: str) -> list[Row]:
    """The rows of one split, or of several with + between them; drawn by the keys where the data has none.

    Raises:
        UnknownNameError: there is no such split. DataError: too few pictures to draw splits from.
    """
    rows = with_splits(name, place, list(rows))
    rows = merged(name, place, rows)
    warn_of_leaks(name, place, rows)
    return chosen(name, place, rows, split, {row.split: None for row in rows if row.split})


def with_splits(name: str, place: str, rows: Sequence[AnyRow]) -> list[AnyRow]:
    """The same rows; where none has a split, with splits drawn by the keys of pictures, or by what pairs say.

    Raises:
        DataError: too few pictures or pairs to draw splits from.
    """
    if any(row.split for row in rows):
        return list(rows)
    keys = [row.key if isinstance(row, Row) else "\n".join(sorted((row.first, row.second))) for row in rows]
    things = "pairs" if any(isinstance(row, ScoredRow) for row in rows) else "pictures"
    drawn = _drawn(name, place, keys, things)
    return [replace(row, split=drawn[key]) for row, key in zip(rows, keys, strict=True)]


def chosen(name: str, place: str, rows: Sequence[AnyRow], split: str, known: Iterable[str]) -> list[AnyRow]:
    """The rows of one split, or of several with + between them; how many have none, beside others that do, is told.

    Raises:
        UnknownNameError: there is no such split. DataError: several go by this name.
    """
    known = list(known)
    wanted = {own_name(name, one, known) for one in split.split("+")}
    if bare := [row.where for row in rows if not row.split]:
        number = count(len(bare), "row")
        say_once(place, f"{name}: left out {number} without a split, which others have ({some(bare)}).")
    return [row for row in rows if row.split in wanted]


def merged(name: str, place: str, rows: Sequence[AnyRow]) -> list[AnyRow]:
    """The same rows, with splits that differ in case or blanks alone made one, which is told."""
    spellings: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.split:
            of_one = spellings.setdefault(row.split.strip().casefold(), {})
            of_one[row.split] = of_one.get(row.split, 0) + 1
    one_of: dict[str | None, str] = {}
    for of_one in spellings.values():
        first, *others = of_one
        one_of |= dict.fromkeys(others, first)
        if others:
            counted = " and ".join(f"{spelling!r} ({number:,} rows)" for spelling, number in of_one.items())
            say_once(place, f"{name}: {counted} are read as one split.")
    return [replace(row, split=one_of[row.split]) if row.split in one_of else row for row in rows]


def warn_of_leaks(name: str, place: str, rows: Iterable[Row | ScoredRow]) -> None:
    """Says how many pictures lie in two splits, and how many captions or pairs of sentences stand in two."""
    pairs = [row for row in rows if row.split and isinstance(row, ScoredRow)]
    if leaks := _in_two((" / ".join(sorted((row.first.strip(), row.second.strip()))), row.split) for row in pairs):
        number = count(len(leaks), "pair stands", "pairs stand")
        say_once(place, f"{name}: {number} word for word in two splits: {some(leaks, 1)}.")
    rows = [row for row in rows if row.split and isinstance(row, Row)]
    if leaks := _in_two((row.key, row.split) for row in rows):
        number = count(len(leaks), "picture lies", "pictures lie")
        say_once(place, f"{name}: {number} in two splits, so what is scored was seen before: {some(leaks)}.")
    if leaks := _in_two((repr(row.caption.strip()), row.split) for row in rows if row.caption):
        number = count(len(leaks), "caption stands", "captions stand")
        say_once(place, f"{name}: {number} word for word in two splits: {some(leaks)}.")


def _in_two(pairs: Iterable[tuple[str, str | None]]) -> list[str]:
    """What stands in two splits, with the first two of them."""
    split_of: dict[str, str | None] = {}
    leaks: dict[str, str] = {}
    for thing, split in pairs:
        if split_of.setdefault(thing, split) != split:
            leaks.setdefault(thing, f"{thing} in {split_of[thing]} and {split}")
    return list(leaks.values())


def _drawn(name: str, place: str, keys: Iterable[str], things: str) -> Mapping[str, str]:
    """A split for each picture or pair, decided by the keys alone."""
    order = sorted(set(keys), key=digest)
    tenth = max(len(order) // 10, 1)
    if not order:
        raise DataError(f"{name}: there is nothing in it, no line below the names of columns, say; look at the file")
    if len(order) < 3:
        raise DataError(f"{name}: {len(order)} {things} are too few to draw splits from; add a column 'split'")
    by = "names" if things == "pictures" else "words"
    say_once(
        place,
        f"{name}: no splits given, so {tenth} of its {len(order):,} {things} are test and {tenth} dev, by their {by}.",
    )
    return {key: "test" if i < tenth else "dev" if i < 2 * tenth else "train" for i, key in enumerate(order)}
