"""Official layouts that several sets of the catalogue share: each function gives a set's `rows` (`entry.Reading`)."""

import json
import lzma
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from polyprompt.data.entry import Reading
from polyprompt.data.files import Places, Walk, class_list, first_there, folder_name, packed, readable, visible_folders
from polyprompt.data.items import Picture
from polyprompt.data.json_files import content
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.names import LIST, read_class_list
from polyprompt.data.readers import class_folders, karpathy, split_file, tables
from polyprompt.data.rows import Row, ScoredRow, name_in, text_of
from polyprompt.data.splits import split_folders
from polyprompt.data.text_files import text_in
from polyprompt.errors import DataError
from polyprompt.media.pictures import file_bytes
from polyprompt.values import Plain

PACKAGED = Path(__file__).parent / "catalog" / "splits"
"""CoOp's split files that come with the package, compressed."""
MIRROR = "https://huggingface.co/zhengli97/prompt_learning_dataset"
"""Holds CoOp's sets but ImageNet, each with its split file."""


# CoOp's split files


def coop_split(file: str, *pictures: str) -> Reading:
    """CoOp's split of a set: the file beside the pictures, or else the copy that comes with the package.

    What it gives raises a DataError where none of the pictures is there.

    Args:
        file: its name.
        pictures: where the pictures may lie below the set's folder, CoOp's place first.
    """

    def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
        del part, split
        path = folder / file
        splits = content(path) if os.path.isfile(path) else _packaged(folder, file)
        places = [folder / place for place in pictures]
        rows = list(split_file.rows_below(path, splits, *places))
        if rows and all(row.picture is None for row in rows):
            looked = f"looked in {' or '.join(map(str, places))}.{packed(folder)}"
            raise DataError(f"{folder}: none of the {len(rows):,} pictures of {file} is there; {looked}")
        yield from rows

    return rows


def _packaged(folder: Path, file: str) -> Plain:
    kept = PACKAGED / f"{file}.xz"
    if not kept.is_file():
        raise DataError(f"{folder}: no {file} in it. {MIRROR} holds it, and CoOp's DATASETS.md links it; put it there.")
    say_once(
        str(folder), f"{folder_name(folder)}: no {file} beside it, so the copy that comes with polyprompt is read."
    )
    return json.loads(lzma.decompress(kept.read_bytes()))


# ImageNet and what is named like it


@cache
def imagenet_names() -> dict[str, str]:
    """The 1,000 WordNet ids in order, which is that of the labels, with the names that CLIP is prompted with.

    The ids are timm's, the names open_clip's; together they equal CoOp's `classnames.txt`.
    """
    from open_clip import IMAGENET_CLASSNAMES

    return dict(zip(_timm_list("imagenet_synsets.txt"), IMAGENET_CLASSNAMES, strict=True))


def subset(timm_list: str) -> Callable[[], tuple[str, ...]]:
    """The WordNet ids of a set with fewer classes (`imagenet_a_synsets.txt`), in order."""
    return lambda: tuple(sorted(_timm_list(timm_list)))


@cache
def _timm_list(name: str) -> tuple[str, ...]:
    import timm.data

    return tuple((Path(timm.data.__file__).parent / "_info" / name).read_text().split())


def wnid_folders(places: Mapping[str, Sequence[str]], classes: Callable[[], Iterable[str]] = imagenet_names) -> Reading:
    """Folders called by WordNet ids; the label is the place among the set's sorted ids.

    A `classnames.txt` in the set's folder (CoOp's) gives the names; without it they are CLIP's.

    Args:
        places: where each split may lie below the set's folder.
        classes: the ids of the set.
    """

    def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
        del part
        ids = sorted(classes())
        names = _names_beside(folder, ids)
        label_of = {wnid: label for label, wnid in enumerate(ids)}
        for split_name in places if split is None else [split]:
            root = first_folder(folder, places[split_name])
            for row in _class_folders(folder, root, lambda wnid: wnid in label_of):
                wnid = str(row.label)
                yield replace(row, split=split_name, label=label_of[wnid], class_name=names[wnid])

    return rows


def numbered_folders(split: str, *places: str) -> Reading:
    """Folders called 0 to 999, by ImageNet's labels; sorted as text they would be mislabelled (0, 1, 10, 100)."""

    def rows(folder: Path, part: str, wanted: str | None) -> Iterator[Row]:
        del part, wanted
        ids = sorted(imagenet_names())
        by_id = _names_beside(folder, ids)
        names = tuple(by_id[wnid] for wnid in ids)
        root = first_folder(folder, places)
        for row in _class_folders(folder, root, lambda name: name.isdecimal() and int(name) < len(names)):
            label = int(str(row.label))
            yield replace(row, split=split, label=label, class_name=names[label])

    return rows


def _names_beside(folder: Path, ids: Sequence[str]) -> dict[str, str]:
    """Names by WordNet id, from a list in the set's folder if there is one; it must have those of the set."""
    known = imagenet_names()
    if not (file := class_list(folder)):
        return known
    given = read_class_list(file)
    if missing := [wnid for wnid in ids if wnid not in given]:
        raise DataError(f"{folder / LIST}: has no name for {count(len(missing), 'id')} ({some(missing)}); take CoOp's")
    if other := [wnid for wnid in ids if given[wnid] != known.get(wnid, given[wnid])]:
        example = f"{other[0]} is {given[other[0]]!r}, not {known[other[0]]!r}"
        number = count(len(other), "name is", "names are")
        say_once(
            str(folder), f"{folder_name(folder)}: {number} not those of CoOp's list ({example}); {LIST} is believed."
        )
    return given


# Folders of classes


def first_folder(folder: Path, places: Sequence[str]) -> Path:
    """The first of several places that is there.

    Raises:
        DataError: none is.
    """
    candidates = [folder / place for place in places]
    if (first := first_there(candidates)) is None:
        raise DataError(f"{folder}: its pictures are not there; looked for {' or '.join(map(str, candidates))}")
    return first


def _class_folders(folder: Path, root: Path, known: Callable[[str], bool]) -> Iterator[Row]:
    """The pictures of each class folder in `root`, with keys below `folder`; other folders are told."""
    walk = Walk(folder)
    names = visible_folders(root)
    if other := [name for name in names if not known(name)]:
        number = count(len(other), "folder")
        say_once(str(root), f"{root}: left out {number} that are no classes of this set ({some(other)}).")
    if not any(map(known, names)):
        raise DataError(f"{root}: no class folders in it; sort its pictures into a folder per class, as its page says")
    for name in filter(known, names):
        for file in walk.files(root / name):
            key = readable(file.relative_to(folder).as_posix())
            yield Row(str(file), key, Picture(key, partial(file_bytes, file)), label=name)
    walk.note_broken(root)
    walk.warn()


def domains(places: Mapping[str, Sequence[str]], broken: Sequence[str] = ()) -> Reading:
    """A folder per domain (the set's parts) with a folder per class: DomainBed's layout, which has no splits.

    Dassl's folders train, val (crossval) and test within a domain are read together: all of a domain is scored.

    Args:
        places: where each domain may lie below the set's folder.
        broken: keys of pictures that cannot be read in the published set, and are left out.
    """

    def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
        del split
        root = first_folder(folder, places[part])
        folders = visible_folders(root)
        splits = split_folders(folders)
        if splits and (others := [name for name in folders if name not in splits]):
            say_once(str(root), f"{root}: left out {some(others)}; {' and '.join(splits)} are its splits.")
        for within in [f"{name}/" for name in splits] or [""]:
            for row in class_folders.rows(str(root / within)):
                key = f"{part}/{within}{row.key}"
                if key in broken:
                    line = f"left out {key}, which is broken in the published set"
                    say_once(str(folder), f"{folder_name(folder)}: {line}.")
                    continue
                yield replace(row, key=key, picture=None if row.picture is None else replace(row.picture, key=key))

    return rows


# Captions


def karpathy_split(file: str, also: Sequence[str] = (), train: Sequence[str] = ("train",)) -> Reading:
    """Karpathy's split of a set of captions; a table of captions is read where his file is not there.

    Args:
        file: his JSON; it may also lie in `caption_datasets/`, as it is unpacked.
        also: folders that the pictures lie in, besides the usual ones.
        train: his splits that are trained on together.
    """

    def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
        del part, split
        near = (folder / file, folder / "caption_datasets" / file, folder.parent / "caption_datasets" / file)
        if path := next((place for place in near if os.path.isfile(place)), None):
            all_rows = karpathy.rows_below(path, Places(folder / file, *also))
        elif tables.fits(str(folder)):
            say_once(str(folder), f"{folder_name(folder)}: no {file} in it; the table beside the pictures is read.")
            all_rows = tables.rows(str(folder))
        else:
            raise DataError(f"{folder}: no {file} in it; looked for {' or '.join(map(str, near))}")
        for row in all_rows:
            if isinstance(row, Row):
                yield replace(row, split="train") if row.split in train else row

    return rows


def video_of(places: Places, name: str, key: str = "") -> Picture | None:
    """A clip by its name, which may lack its ending; its key is the name, if not given."""
    endings = ("", ".mp4", ".avi", ".webm", ".mkv")
    pictures = (places.find(f"{name}{ending}") for ending in endings)
    return next((replace(picture, key=key or name) for picture in pictures if picture is not None), None)


def lines_of(file: Path) -> list[str]:
    """The lines of a text file that are not empty, without white space around them.

    Raises:
        DataError: as `text_in`.
    """
    return [line for _, line in numbered_lines(file)]


def numbered_lines(file: Path) -> list[tuple[int, str]]:
    """The same, each with its number, counted from 1; empty lines count.

    Raises:
        DataError: as `text_in`.
    """
    lines = text_in(file).split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


# Pairs of sentences


def semeval(task: str, files: str) -> Reading:
    """An STS task's test: SemEval's `STS.input.*.txt` with `STS.gs.*.txt`, as SentEval lays them out.

    Pairs without a gold score (2015 and 2016 hold many) do not count. `sts_suite.tsv`, a table with a column task, is
    read as well.
    """

    def rows(folder: Path, part: str, split: str | None) -> Iterator[ScoredRow]:
        del part, split
        if os.path.isfile(table := folder / "sts_suite.tsv"):
            yield from suite(table, task)
            return
        root = first_folder(folder, (files, f"STS/{files}", "."))
        inputs = sorted(root.glob("STS.input.*.txt"))
        if not inputs:
            raise DataError(f"{root}: no STS.input.*.txt in it, and no sts_suite.tsv in {folder}")
        for file in inputs:
            yield from _scored_lines(file)

    return rows


def suite(table: Path, task: str) -> Iterator[ScoredRow]:
    """The rows of one task in a table of several (columns task, split, score, sentence1, sentence2)."""
    for line, cells in tables.records(table):
        if cells.get("task") == task:
            where = f"{table.name}, line {line}"
            score = tables.number(cells.get("score"), where)
            split = name_in(cells.get("split"), "split", where) or None
            first, second = (text_of(cells.get(name), name, where) for name in ("sentence1", "sentence2"))
            yield ScoredRow(where, first, second, score, split)


def _scored_lines(file: Path) -> Iterator[ScoredRow]:
    gold = file.with_name(file.name.replace("STS.input.", "STS.gs."))
    sentences, scores = (text_in(place).removesuffix("\n").split("\n") for place in (file, gold))
    if len(sentences) != len(scores):
        raise DataError(f"{file}: {len(sentences)} lines, but {gold.name} has {len(scores)}; both must be whole")
    for number, (line, score) in enumerate(zip(sentences, scores, strict=True), 1):
        where = f"{file.name}, line {number}"
        first, tab, rest = line.partition("\t")
        if not tab:
            raise DataError(f"{where}: no tab between the sentences")
        if score.strip():
            yield ScoredRow(where, first, rest.partition("\t")[0], tables.number(score, where), "test")


def tab_separated(file: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    """Place and fields of each line of a file without quoting.

    Raises:
        DataError: missing, not UTF-8, or a line with fewer fields.
    """
    for number, line in numbered_lines(file):
        where = f"{file.name}, line {number}"
        fields = line.split("\t")
        if len(fields) < columns:
            raise DataError(f"{where}: {len(fields)} fields, needs {columns} with tabs between them")
        yield where, fields
