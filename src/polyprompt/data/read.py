"""One way from a name to data: `read_pairs` for captions, `read_labelled` for classes, `read_scored` for sentences.

What a name may be stands in `source.py`. A new format is a file in `readers/`, a new published set one in `catalog/`.
Whatever is left out, merged or guessed on the way is told, with its number and an example.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from polyprompt.data import odd
from polyprompt.data.captions import pairs_of, readable_ones, skip_unreadable, warn_of_skipped
from polyprompt.data.entry import Kind
from polyprompt.data.items import Labelled, Pairs, Scored
from polyprompt.data.labels import Classes, labelled_of, refuse_other_folders
from polyprompt.data.messages import count, say_once
from polyprompt.data.readers import Reader
from polyprompt.data.rows import Row, ScoredRow
from polyprompt.data.source import Source, open_source, rows_of_kind
from polyprompt.data.splits import chosen, in_split, merged, own_name, warn_of_leaks, with_splits
from polyprompt.errors import BadPicturesError, DataError, UnknownNameError


def read_pairs(
    source: str | Path | Source, split: str | None = None, *, max_bad: int = 0, reader: Reader | None = None
) -> Pairs:
    """Pictures with their captions, in the order of the source.

    Args:
        source: a folder, a table, Karpathy's or COCO's JSON, tars, "hf:name", a name of the catalogue (`source.py`);
            or what `open_source` made of one, which is then read once for several splits.
        split: "train", or several: "train+restval". All of them if not given. Of data without splits a tenth of the
            pictures is "test" and a tenth "dev", at least one each, drawn by their keys: always the same ones.
        max_bad: how many pictures may be missing or unreadable; they are left out with their captions, and listed in
            `Pairs.skipped` and on stderr. With 0, files are only looked for, and one that is unreadable raises when it
            is opened; above 0, each is opened once now.
        reader: a format of your own, such as a module with `fits` and `rows`.

    Raises:
        UnknownNameError: there is no such split; near names are offered.
        BadPicturesError: more than `max_bad` pictures are missing or unreadable.
        DataError: no pictures, an empty caption, or a source that cannot be read as what it seems to be.
    """
    _check_number(max_bad)
    opened = _opened(source, "captions", reader)
    rows = cast(list[Row], rows_of_kind(opened, "captions", split))
    name = opened.name if split is None else f"{opened.name}:{split}"
    if split is None:
        warn_of_leaks(opened.name, opened.place, rows)
    else:
        rows = _captions_in(opened, rows, split)
    pairs = pairs_of(name, opened.place, rows, max_bad)
    if max_bad:
        pairs = skip_unreadable(pairs, max_bad)
    warn_of_skipped(pairs.name, opened.place, pairs.skipped)
    _warn_of_count(opened, split, len(pairs.images), "pictures")
    return pairs


def open_labels(source: str | Path) -> Source:
    """A source of labelled pictures, to be asked several times and read once (`read_labelled`, `splits_of`).

    Raises:
        DataError: as `read_labelled`.
    """
    return open_source(str(source), "labels")


def read_labelled(
    source: str | Path | Source,
    split: str | None = None,
    *,
    class_names: Sequence[str] | None = None,
    max_bad: int = 0,
    reader: Reader | None = None,
) -> Labelled:
    """Pictures with their classes.

    Args:
        source: a folder with one folder per class (in folders per split, if it has splits), a table of path and label,
            a CoOp split file, tars with .cls members, "hf:name", a name of the catalogue (`source.py`); or what
            `open_labels` gave.
        split: "train", "val", "test", or what the source calls it. Needed if the source has splits.
        class_names: the classes in the order in which labels count, for a second set that is to share the labels of a
            first; some of them may have no pictures. If not given: in the order of the labels where these are numbers,
            else sorted; those of all splits.
        max_bad: how many pictures may be missing or unreadable, as in `read_pairs`.
        reader: a format of your own.

    Raises:
        UnknownNameError: there is no such split.
        BadPicturesError: more than `max_bad` pictures are missing or unreadable.
        DataError: no pictures, one class only, a class without pictures, two classes with one name, a label that does
            not match its folder or the given classes.
    """
    _check_number(max_bad)
    opened = _opened(source, "labels", reader)
    if split is None and opened.splits:
        raise DataError(f"{opened.name}: has the splits {', '.join(sorted(opened.splits))}; choose one")
    rows = merged(opened.name, opened.place, cast(list[Row], rows_of_kind(opened, "labels", split)))
    entry = opened.entry
    classes = Classes(entry.twins, entry.renamed) if entry else Classes()
    for row in rows:
        classes.add(row)
    classes.name_of |= opened.classes
    wanted = _in_split(opened, rows, split)
    if entry is None:
        refuse_other_folders(wanted, classes)
    name = opened.name if split is None else f"{opened.name}:{split}"
    data = labelled_of(name, opened.place, wanted, classes, class_names, max_bad)
    if max_bad:
        data = _without_unreadable(data, max_bad)
    warn_of_skipped(data.name, opened.place, data.skipped)
    _warn_of_count(opened, split, len(data.pictures), "pictures")
    _warn_of_classes(opened, len(classes.name_of))
    return data


def read_scored(source: str | Path | Source, split: str | None = None, *, reader: Reader | None = None) -> Scored:
    """Pairs of sentences with their scores, in the order of the source.

    Args:
        source: a table with the columns sentence1, sentence2 and score, "hf:name", a name of the catalogue.
        split: "train", or several: "dev+test"; all of them if not given. Of data without splits a tenth of the pairs
            is "test" and a tenth "dev", drawn by their words.
        reader: a format of your own.

    Raises:
        UnknownNameError: there is no such split. DataError: no pairs, a sentence that is empty or no text, a score
            that is no number, the same score for all pairs.
    """
    opened = _opened(source, "scores", reader)
    rows = merged(opened.name, opened.place, cast(list[ScoredRow], rows_of_kind(opened, "scores", split)))
    name = opened.name
    if split is not None and not opened.splits:
        rows = with_splits(name, opened.place, rows)
    warn_of_leaks(name, opened.place, rows)
    if split is not None:
        known = opened.splits or {row.split: None for row in rows if row.split}
        rows, name = chosen(name, opened.place, rows, split, known), f"{name}:{split}"
    _check_sentences(name, opened.place, rows)
    if len(rows) > 1 and len({row.score for row in rows}) == 1:
        raise DataError(
            f"{name}: all {len(rows):,} pairs have the score {rows[0].score:g}, so there is nothing to rank; give "
            "pairs with different ones"
        )
    _warn_of_count(opened, split, len(rows), "pairs")
    first, second, scores = (
        zip(*((row.first, row.second, row.score) for row in rows), strict=True) if rows else ((),) * 3
    )
    return Scored(name, first, second, scores)


def splits_of(source: str | Path | Source, *, reader: Reader | None = None) -> tuple[str, ...]:
    """The splits that a source of labelled pictures has, sorted; none for plain class folders, say.

    Raises:
        DataError: it cannot be read.
    """
    opened = _opened(source, "labels", reader)
    if opened.splits is not None:
        return tuple(sorted(opened.splits))
    rows = merged(opened.name, opened.place, cast(list[Row], rows_of_kind(opened, "labels", None)))
    return tuple(sorted({row.split for row in rows if row.split}))


def _check_number(max_bad: int) -> None:
    if max_bad < 0:
        raise DataError(f"max_bad is {max_bad}; it counts pictures that may be left out, so at least 0")


def _check_sentences(name: str, place: str, rows: Sequence[ScoredRow]) -> None:
    sentences = [(row.where, text) for row in rows for text in (row.first, row.second)]
    for where, text in sentences:
        if not text.strip():
            raise DataError(f"{where}: a sentence is empty; write it or delete the row")
        if odd.is_list(text.strip()):
            raise DataError(f"{where}: a sentence is a list written as text, {text!r:.80}; write one sentence")
    odd.warn_of_damage(name, place, "sentence", sentences)
    pairs = Counter((row.first.strip(), row.second.strip()) for row in rows)
    if twice := [pair for pair, times in pairs.items() if times > 1]:
        number = count(sum(pairs[pair] - 1 for pair in twice), "pair repeats", "pairs repeat")
        say_once(place, f"{name}: {number} another one ({twice[0][0]!r:.80} and {twice[0][1]!r:.80}).")


def _without_unreadable(data: Labelled, max_bad: int) -> Labelled:
    """The pictures that can be opened.

    Raises:
        BadPicturesError: more than `max_bad` are left out, those that are missing included.
    """
    good, bad = readable_ones(data.pictures)
    if len(data.skipped) + len(bad) > max_bad:
        raise BadPicturesError(data.name, [*data.skipped, *bad], max_bad)
    return data.without(set(range(len(data.pictures))) - set(good), bad)


def _captions_in(opened: Source, rows: Sequence[Row], split: str) -> list[Row]:
    """The rows of a split of captions.

    Raises:
        UnknownNameError: there is no such split. DataError: an official one, of which nothing is there.
    """
    try:
        return in_split(opened.name, opened.place, rows, split)
    except UnknownNameError:
        if not opened.splits or not all(own_name(opened.name, one, opened.splits) for one in split.split("+")):
            raise
        raise DataError(
            f"{opened.name}: nothing of its split {split!r} is there ({opened.place}); `polyprompt data check` says "
            "what is missing"
        ) from None


def _in_split(opened: Source, rows: Sequence[Row], split: str | None) -> list[Row]:
    """The rows of a split."""
    known = opened.splits or {row.split: None for row in rows if row.split}
    if split is None:
        if known:
            raise DataError(f"{opened.name}: has the splits {', '.join(sorted(known))}; choose one")
        return list(rows)
    if not known:
        raise DataError(f"{opened.name}: has no splits; leave split {split!r} out, or add a column 'split'")
    warn_of_leaks(opened.name, opened.place, rows)
    return chosen(opened.name, opened.place, rows, split, known)


def _opened(source: str | Path | Source, kind: Kind, reader: Reader | None) -> Source:
    return source if isinstance(source, Source) else open_source(str(source), kind, reader)


def _warn_of_count(opened: Source, split: str | None, number: int, things: str) -> None:
    """Says where a published set is not whole."""
    if opened.entry is None:
        return
    expected = opened.entry.expected(opened.entry.counts, opened.part, split)
    if expected is not None and expected != number:
        where = f"{opened.name}:{split}" if split else opened.name
        line = f"{where}: {number:,} {things}, the published set has {expected:,}; figures are not comparable with its."
        say_once(opened.place, line)


def _warn_of_classes(opened: Source, number: int) -> None:
    """Says where a published set has other classes than it should, which is another task."""
    if opened.entry is not None and number != opened.entry.classes:
        line = f"{count(number, 'class', 'classes')}, the published set has {opened.entry.classes}; figures are not "
        say_once(opened.place, f"{opened.name}: {line}comparable with its.")
