"""Results of runs as tables: mean ± standard deviation over seeds, in markdown and for the page.

Which figures are set bold: the best mean of a column, and with it every row whose mean is no further away than the two
rows' standard deviations together. Nothing is bold where all rows are that close, or where a row has one seed alone:
then nothing shows that the best is not luck.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from polyprompt.progress import duration
from polyprompt.report.runs import Group, Results, RetrievalScores, Run, group, read_run
from polyprompt.report.words import printed

DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}
ASPECTS = {"centred_cosine": "centred cosine", "redundancy": "redundancy"}


@dataclass(frozen=True)
class Figure:
    """A figure of one experiment: one value per seed."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return mean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None for one seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    def says(self, digits: int) -> str:
        """ "47.1 ± 0.6", or "47.1" for one seed."""
        shown = printed(self.mean, f".{digits}f")
        return shown if self.spread is None else f"{shown} ± {printed(self.spread, f'.{digits}f')}"


@dataclass(frozen=True)
class Column:
    """Which figure a column shows."""

    of: str
    """What the figure belongs to: "text → image"."""
    name: str
    """Its own name: "R@1"."""
    read: Callable[[Any], float | None]
    """Takes the figure from what retrieval on a set gave, or from a run's results."""
    digits: int
    ranked: bool
    """Whether more is better, so that there is a best."""


@dataclass(frozen=True)
class Cell:
    """What stands in a table's cell."""

    text: str
    values: Sequence[float]
    """One per seed; none where the experiment has no such figure."""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """One set for retrieval, or all for labels or sentences: experiments below one another, figures side by side."""

    data: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    """Name of the experiment and its cells, one per column."""
    seeds: Sequence[Sequence[int]]
    """Seeds of each row."""
    notes: Sequence[str]

    @property
    def header(self) -> list[tuple[str, int]]:
        """What neighbouring columns belong to, with how many they are."""
        return [(of, len(list(some))) for of, some in groupby(self.columns, key=lambda column: column.of)]


def tables(groups: Sequence[Group]) -> list[Table]:
    """A table for each set that any of the experiments was to retrieve from, one for sentences, one for all labels."""
    names = dict.fromkeys(name for each in groups for run in each.runs for name in run.results.retrieval)
    return [*(_retrieval(name, groups) for name in names), *_sentences(groups), *_classification(groups)]


def write_table(runs: Sequence[Path]) -> str:
    """The results of these runs in markdown, with the commands, seeds, machines and dates behind them.

    Raises:
        FileError: a folder is no run, or is damaged.
    """
    groups = group([read_run(run) for run in runs])
    return "\n".join([*(markdown(table) for table in tables(groups)), _how(groups)])


def markdown(table: Table) -> str:
    """A table in GitHub's markdown, with its notes."""
    header = ["", *(f"{column.of} {column.name}" for column in table.columns), "seeds"]
    lines = [f"### {_plain(table.data)}", "", _row(header), _row(["---", *["---:"] * (len(header) - 1)])]
    for (name, cells), seeds in zip(table.rows, table.seeds, strict=True):
        figures = [f"**{cell.text}**" if cell.best else cell.text for cell in cells]
        lines.append(_row([_plain(name), *figures, ", ".join(map(str, seeds)) or printed(None, "")]))
    return "\n".join([*lines, "", *(f"{_plain(note)}\n" for note in table.notes)])


def machine(results: Results) -> str:
    """The machine that a run was made on, on one line."""
    if isinstance(results.machine, str):
        return results.machine
    return ", ".join(f"{key} {value}" for key, value in results.machine.items())


def columns(scores: Sequence[RetrievalScores]) -> list[Column]:
    """The columns for which there is any figure: recall in both directions, then how alike the aspects are."""
    ks = {int(key.split("@")[1]) for one in scores for way in DIRECTIONS for key in getattr(one, way)}
    recalls = [Column(says, f"R@{k}", _recall(way, k), 1, True) for way, says in DIRECTIONS.items() for k in sorted(ks)]
    aspects = [Column("aspects", says, _aspect(key), 2, False) for key, says in ASPECTS.items()]
    return [column for column in recalls + aspects if any(column.read(one) is not None for one in scores)]


def _recall(way: str, k: int) -> Callable[[RetrievalScores], float | None]:
    """Reads a recall, as a percentage, from what retrieval on a set gave."""

    def read(scores: RetrievalScores) -> float | None:
        share = getattr(scores, way).get(f"recall@{k}")
        return None if share is None else 100 * share

    return read


def _aspect(key: str) -> Callable[[RetrievalScores], float | None]:
    return lambda scores: scores.aspects.get(key)


def _retrieval(data: str, groups: Sequence[Group]) -> Table:
    runs = {each.name: some for each in groups if (some := [run for run in each.runs if data in run.results.retrieval])}
    scores = {name: [run.results.retrieval[data] for run in some] for name, some in runs.items()}
    every = [one for some in scores.values() for one in some]
    shown = columns(every)
    shares = [
        (share, one.images) for one in every if one.images for way in DIRECTIONS for share in getattr(one, way).values()
    ]
    return _table(data, shown, runs, scores, _recalls(every), shares)


def _sentences(groups: Sequence[Group]) -> list[Table]:
    runs = {each.name: some for each in groups if (some := [run for run in each.runs if run.results.sentences])}
    results = {name: [run.results for run in some] for name, some in runs.items()}
    sets = dict.fromkeys(data for some in results.values() for one in some for data in one.sentences)
    shown = [Column(data, "Spearman", _spearman(data), 1, True) for data in sets]
    note = "Spearman's correlation of cosines with people's scores, in %."
    return [_table("sentences", shown, runs, results, note, [])] if runs else []


def _spearman(data: str) -> Callable[[Results], float | None]:
    return lambda one: 100 * one.sentences[data].spearman if data in one.sentences else None


def _classification(groups: Sequence[Group]) -> list[Table]:
    runs = {each.name: some for each in groups if (some := [run for run in each.runs if run.results.classification])}
    results = {name: [run.results for run in some] for name, some in runs.items()}
    every = [one for some in results.values() for one in some]
    sets = dict.fromkeys(data for one in every for data in one.classification)
    shown = [Column(data, *kind) for data in sets for kind in (
        ("accuracy", _classified(data, "accuracy", 100), 1, True),
        ("zero-shot", _zero_shot(data), 1, False),
        ("macro-F1", _classified(data, "macro_f1", 100), 1, True),
        ("calibration error", _classified(data, "calibration_error", 1), 3, False),
    )]  # fmt: skip
    shown = [column for column in shown if any(column.read(one) is not None for one in every)]
    if any(one.harmonic_mean is not None for one in every):
        shown.append(Column("base and novel", "harmonic mean", _harmonic_mean, 1, True))
    if not every:
        return []
    shares = [(each.accuracy, each.pictures) for one in every for each in one.classification.values()]
    return [_table("classification", shown, runs, results, "Accuracy and macro-F1 in %.", shares)]


def _classified(data: str, key: str, times: int) -> Callable[[Results], float | None]:
    return lambda one: times * getattr(one.classification[data], key) if data in one.classification else None


def _zero_shot(data: str) -> Callable[[Results], float | None]:
    return lambda one: 100 * one.zero_shot[data].accuracy if data in one.zero_shot else None


def _harmonic_mean(one: Results) -> float | None:
    return None if one.harmonic_mean is None else 100 * one.harmonic_mean


def _table(
    data: str,
    shown: Sequence[Column],
    runs: Mapping[str, Sequence[Run]],
    measured: Mapping[str, Sequence[Any]],
    what: str,
    shares: Sequence[tuple[float, int]],
) -> Table:
    """A row for each experiment in `measured`, which holds what the columns read, one for each of its runs."""
    by_column = [[_figure(column, some) for some in measured.values()] for column in shown]
    best = [_best(figures) if column.ranked else set() for column, figures in zip(shown, by_column, strict=True)]
    rows = []
    for row, name in enumerate(measured):
        cells = [
            Cell(figure.says(column.digits), figure.values, row in leading)
            if (figure := figures[row])
            else Cell(printed(None, ""), ())
            for column, figures, leading in zip(shown, by_column, best, strict=True)
        ]
        rows.append((name, cells))
    seeds = [[run.results.seed for run in some if run.results.seed is not None] for some in runs.values()]
    return Table(data, shown, rows, seeds, _notes(what, shares, list(map(len, measured.values())), any(best)))


def _figure(column: Column, measured: Sequence[Any]) -> Figure | None:
    values = [value for one in measured if (value := column.read(one)) is not None]
    return Figure(values) if values else None


def _best(figures: Sequence[Figure | None]) -> set[int]:
    """The rows to set bold; the head of this file says which."""
    known = {row: figure for row, figure in enumerate(figures) if figure}
    spreads = {row: figure.spread for row, figure in known.items() if figure.spread is not None}
    if len(known) < 2 or len(spreads) < len(known):
        return set()
    top = max(known, key=lambda row: known[row].mean)
    close = {row for row in known if known[top].mean - known[row].mean <= spreads[top] + spreads[row] or row == top}
    return close if len(close) < len(known) else set()


def _recalls(scores: Sequence[RetrievalScores]) -> str:
    """What the figures are, and of how many items where that is the same for all."""
    sizes = {(one.images, one.captions) for one in scores if one.images and one.captions}
    if len(sizes) != 1:
        return "Recall in %."
    ((images, captions),) = sizes
    return f"Recall in %, among {images:,} images and {captions:,} captions."


def _notes(what: str, shares: Sequence[tuple[float, int]], counts: Sequence[int], bold: bool) -> list[str]:
    """What a reader must know to read the figures.

    Args:
        what: what they are.
        shares: every share in the table, with how many items it is a share of. Captions of one image are not
            independent, so recalls in both directions count the images as items.
        counts: how many seeds each row has.
        bold: whether any figure is.
    """
    notes = [what]
    if max(counts) > 1:
        notes[0] += " Mean ± standard deviation over seeds."
    if bold:
        notes.append("Bold: the best, and what is within both rows' standard deviations of it.")
    elif len(counts) > 1 and min(counts) > 1:
        notes.append("No figure is bold: in each column all rows are within their standard deviations of the best.")
    if len(counts) > 1 and min(counts) == 1:
        note = "With one seed there is no spread to compare with, so no figure is called best"
        if shares:
            error = max(100 * math.sqrt(share * (1 - share) / items) for share, items in shares)
            note += f"; the choice of test items alone gives a figure a standard error of up to {error:.1f}"
        notes.append(f"{note}.")
    return notes


def _how(groups: Sequence[Group]) -> str:
    """Commands, machines and dates, a line per run."""
    header = ["", "seed", "command", "machine", "date", "took"]
    lines = ["### How", "", _row(header), _row(["---"] * len(header))]
    for each in groups:
        for run in each.runs:
            results = run.results
            seed = printed(results.seed, "d")
            took = printed(None, "") if results.seconds is None else duration(results.seconds)
            command = f"`{results.command.replace('`', chr(39))}`" if results.command else printed(None, "")
            cells = [_plain(each.name), seed, command, _plain(machine(results)), _plain(results.date), took]
            lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    # A bar ends a cell even within a code span.
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    """Text that markdown shows as it is, tags among it."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", text)
