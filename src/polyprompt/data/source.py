"""From what a user types to rows: a name of the catalogue, a folder, a table, a split file, shards, a hub name.

photos, photos/captions.csv, split_zhou_EuroSAT.json, shards/*.tar, hf:name    what lies there, by its format
caltech101                     a set of the catalogue, below the folder that POLYPROMPT_DATA names
caltech101@FOLDER              the same, below FOLDER (or FOLDER is its own)
pacs:photo, pacs:photo@FOLDER  a part of one
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

from polyprompt.data import catalog
from polyprompt.data.entry import ROOT, Entry, Kind
from polyprompt.data.files import ARCHIVES, first_files, packed, visible_folders
from polyprompt.data.json_files import forget
from polyprompt.data.messages import say_once
from polyprompt.data.readers import Reader, class_folders, readers
from polyprompt.data.rows import Row, ScoredRow
from polyprompt.data.splits import own_name, split_folders
from polyprompt.disk.places import nearby
from polyprompt.errors import DataError, DoubleKeyError, SeveralListsError
from polyprompt.media.suffixes import SEEN

AnyRow = Row | ScoredRow


@dataclass(frozen=True)
class Source:
    """Where rows come from."""

    name: str
    place: str
    """Where it lies, for what is told once."""
    rows: Callable[[str | None], Iterable[AnyRow]]
    """All rows; those of other splits than the wanted one may be left out."""
    splits: tuple[str, ...] | None = None
    """The splits, where they are known without reading all rows."""
    classes: Mapping[str | int, str] = field(default_factory=dict)
    """Labels and names of the class folders of all splits; in one split there may be no picture of one."""
    entry: Entry | None = None
    part: str = ""
    held: dict[str | None, list[AnyRow]] = field(default_factory=dict, repr=False, compare=False)
    """Rows that were read, by the split that was asked for: whoever opens a source once reads them once."""


def open_source(source: str, kind: Kind, reader: Reader | None = None) -> Source:
    """What `source` names, for rows of this kind.

    Args:
        source: see above.
        kind: captions, labels or scores.
        reader: a format of your own, asked in place of those that are known.

    Raises:
        DataError: there is nothing of this name, or nothing of this kind in it; or several formats fit.
    """
    if reader is not None:
        return Source(_name_of(source, kind), os.path.abspath(source), lambda split: reader.rows(source))
    return _of_catalogue(source, kind) or _of_split_folders(source, kind) or _of_reader(source, kind)


def kinds_of(source: str) -> tuple[Kind, ...]:
    """What a source holds: captions, labels, scores, or several of them.

    Raises:
        DataError: there is nothing of this name.
    """
    if named := _catalogue_name(source):
        return (catalog.entry(named[0]).holds,)
    kinds: dict[Kind, None] = {}
    for place in [str(Path(source) / name) for name in _split_folders(source)] or [source]:
        for reader in _fitting(place):
            for row in _first_rows(reader, place):
                kinds |= dict.fromkeys(_kinds(row))
    return tuple(kinds)


def check_there(source: str) -> None:
    """Refuses the name of nothing; no row is read.

    Raises:
        DataError: there is nothing of this name.
    """
    if not os.path.exists(source) and not _catalogue_name(source) and not _fitting(source):
        raise DataError(_nothing(source, "labels", ()))


# The catalogue


def prompt_of(source: str) -> str:
    """The prompt of the published runs, if `source` is a set of the catalogue; else ""."""
    return catalog.prompt(source) if _catalogue_name(source) else ""


def _catalogue_name(source: str) -> tuple[str, str, str] | None:
    """Name, part and folder of a set of the catalogue; None if `source` is another thing, as everything that exists."""
    head, at, folder = source.partition("@")
    name, _, part = head.partition(":")
    known = catalog.known(name)
    if known is None:
        return None
    if os.path.exists(source):
        line = f"{source}: what lies here under this name is read; write {known}@FOLDER for the published set."
        say_once(source, line)
        return None
    if at and not folder:
        raise DataError(f"{source}: names no folder; write {known}@FOLDER")
    return known, part, folder


def _of_catalogue(source: str, kind: Kind) -> Source | None:
    if (named := _catalogue_name(source)) is None:
        return None
    name, part, folder = named
    entry = catalog.entry(name)
    if entry.holds != kind:
        raise DataError(f"{name}: holds {entry.holds}, not {kind}")
    part = entry.part(name, part)
    place = Path()
    if entry.folders:
        if not (root := folder or os.environ.get(ROOT, "")):
            raise DataError(
                f"{name}: where it lies is not known. Set {ROOT} to the folder that holds {entry.folders[0]}/, or "
                f"write {name}@FOLDER"
            )
        try:
            place = entry.folder(name, Path(root).expanduser())
        except RuntimeError:
            raise DataError(f"{name}: nobody has the home folder in {root}; name another folder") from None
    splits = entry.splits_in(part)
    full = f"{name}:{part}" if part and part != entry.default_part else name

    def rows(split: str | None) -> Iterable[AnyRow]:
        wanted = None if split is None or "+" in split or not splits else own_name(full, split, splits)
        return chain.from_iterable(entry.rows(place, one, wanted) for one in part.split("+"))

    return Source(full, f"{name} in {place.absolute()}", rows, splits, {}, entry, part)


# Folders with a folder per split


def _split_folders(source: str) -> list[str]:
    return split_folders(visible_folders(Path(source))) if os.path.isdir(source) else []


def _of_split_folders(source: str, kind: Kind) -> Source | None:
    """A folder whose folders are splits, each a source of its own; None if it is none, or has a list of its own."""
    parts = _split_folders(source)
    if not parts or any(_holds(reader, source, kind) for reader in _fitting(source) if reader is not class_folders):
        return None
    root = Path(source)
    others = [name for name in visible_folders(root) if name not in parts]
    if others:
        say_once(
            source, f"{_name_of(source, kind)}: left out {', '.join(others)}; {' and '.join(parts)} are its splits."
        )
    if bare := [
        name for name in parts if kind == "labels" and not (visible_folders(root / name) or _fitting(str(root / name)))
    ]:
        raise DataError(
            f"{root / bare[0]}: is called like a split, but has no class folders in it; put the pictures of each class "
            "into a folder called like it, or give the folder another name"
        )
    within = {name: _of_reader(str(root / name), kind) for name in parts}
    first: dict[str, str] = {}
    one_of = {name: first.setdefault(name.strip().casefold(), name) for name in parts}
    for other, one in one_of.items():
        if other != one:
            say_once(source, f"{_name_of(source, kind)}: the folders {one!r} and {other!r} are read as one split.")
    splits = tuple(dict.fromkeys(one_of.values()))

    def rows(split: str | None) -> Iterator[AnyRow]:
        asked = splits if split is None else split.split("+")
        wanted = {own_name(_name_of(source, kind), one, splits) for one in asked}
        for name in parts:
            if one_of[name] in wanted:
                yield from (_moved(row, name, one_of[name]) for row in within[name].rows(None))

    classes = {label: name for one in within.values() for label, name in one.classes.items()}
    return Source(_name_of(source, kind), os.path.abspath(source), rows, splits, classes)


def _moved(row: AnyRow, folder: str, split: str) -> AnyRow:
    """A row of a split's folder as one of the folder above."""
    if isinstance(row, ScoredRow):
        return replace(row, split=split)
    key = f"{folder}/{row.key}"
    picture = None if row.picture is None else replace(row.picture, key=key)
    return replace(row, key=key, picture=picture, split=split)


# One source, by its format


def _of_reader(source: str, kind: Kind) -> Source:
    """The one format that fits and holds what is wanted.

    Raises:
        DataError: none does, or several do.
    """
    fitting = _fitting(source, kind)
    lists = [reader for reader in fitting if reader is not class_folders]
    exact = fitting if len(fitting) == 1 else [reader for reader in lists if _holds(reader, source, kind)]
    if not exact and class_folders in fitting and _holds(class_folders, source, kind):
        exact = [class_folders]
    if len(exact) > 1:
        raise DataError(f"{source}: may be {' or '.join(reader.WHAT for reader in exact)}; name the file that is meant")
    if not exact:
        raise DataError(_nothing(source, kind, fitting))
    reader = exact[0]
    classes = class_folders.classes(Path(source)) if reader is class_folders else {}
    return Source(_name_of(source, kind), os.path.abspath(source), lambda split: reader.rows(source), None, classes)


def _fitting(source: str, kind: Kind = "labels") -> list[Reader]:
    return [reader for reader in readers() if (kind == "labels" or reader is not class_folders) and reader.fits(source)]


def _first_rows(reader: Reader, source: str) -> list[AnyRow | None]:
    """The first row; of a folder with several lists of the format, the first of each."""
    try:
        return [next(iter(reader.rows(source)), None)]
    except SeveralListsError as error:
        return [next(iter(reader.rows(str(file))), None) for file in error.files]


def _holds(reader: Reader, source: str, kind: Kind) -> bool:
    """Whether the first row is of this kind; a source without rows may be any. One that cannot be read is told."""
    try:
        first = next(iter(reader.rows(source)), None)
    except SeveralListsError as error:
        if any(_holds(reader, str(file), kind) for file in error.files):
            raise
        return False
    except DoubleKeyError:  # a list that was seen, and of which only one reading can be meant
        raise
    except DataError as error:
        say_once(source, f"{source}: passed over {reader.WHAT}, since {error}")
        return False
    return first is None or kind in _kinds(first)


def rows_of_kind(opened: Source, kind: Kind, split: str | None) -> list[AnyRow]:
    """All rows of an open source.

    Raises:
        DataError: they hold something else.
    """
    asked = split if opened.splits else None  # else all rows are read, whichever split is wanted
    if asked not in opened.held:
        opened.held[asked] = list(opened.rows(split))
        forget()
    rows = opened.held[asked]
    if rows and kind not in _kinds(rows[0]):
        raise DataError(f"{opened.name}: holds {' and '.join(_kinds(rows[0])) or 'nothing'}, no {kind}")
    return rows


def _kinds(row: AnyRow | None) -> tuple[Kind, ...]:
    if row is None:
        return ()
    if isinstance(row, ScoredRow):
        return ("scores",)
    captions: tuple[Kind, ...] = () if row.caption is None else ("captions",)
    return captions if row.label is None and row.class_name is None else (*captions, "labels")


def _nothing(source: str, kind: Kind, fitting: Sequence[Reader]) -> str:
    if fitting:
        return f"{source}: no {kind} found in it; it is {' or '.join(reader.WHAT for reader in fitting)} without {kind}"
    if os.path.exists(source):
        if any(Path(name).suffix.lower() in SEEN for name in first_files(Path(source))):
            advice = "a folder per class" if kind == "labels" else "captions.csv beside them"
            return f"{source}: holds pictures, but no {kind} of them; give {advice}"
        if source.lower().endswith(ARCHIVES):
            return f"{source}: an archive; unpack it, and give the folder"
        return (
            f"{source}: no {kind} found in it.{packed(Path(source))} Give {', '.join(one.WHAT for one in readers())}."
        )
    near = get_close_matches(source.partition("@")[0].partition(":")[0].casefold(), catalog.names(), n=2)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else nearby(source)
    return (
        f"{source}: no such file or folder, and no data set of the catalogue (`polyprompt data list`).{hint} "
        f"Give {', '.join(reader.WHAT for reader in readers())}."
    )


def _name_of(source: str, kind: Kind) -> str:
    """The last part of a path, also of "."; of labels without the file's ending."""
    path = Path(source)
    return path.stem if kind == "labels" and os.path.isfile(path) else path.name or path.absolute().name
