"""Results of runs as tables: mean ± standard deviation over seeds, in markdown and for the page.

Which figures are set bold: the best mean of a column, and with it every row whose mean is no further away than the two
rows' standard deviations together. Nothing is bold where all rows are that close, or where a row has one seed alone:
then nothing shows that the best is not luck.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev

from polyprompt.progress import duration
from polyprompt.report.runs import Found, Group, Results, group, read_run
from polyprompt.report.words import printed

DIRECTIONS = {"text_to_image": "text → image", "image_to_text": "image → text"}
ASPECTS = {"centred_cosine": "centred cosine", "redundancy": "redundancy"}


@dataclass(frozen=True)
class Figure:
    """A figure of one experiment: one value per seed."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        """Over the seeds."""
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
    read: Callable[[Found], float | None]
    digits: int
    ranked: bool
    """Whether more is better, so that there is a best."""


@dataclass(frozen=True)
class Cell:
    """What stands in a table's cell."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """One evaluation set: the experiments below one another, the figures side by side."""

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
    """One table for each set on which any of the experiments was evaluated."""
    names = dict.fromkeys(name for each in groups for run in each.runs for name in run.results.retrieval)
    return [_table(name, [each for each in groups if _evaluated(each, name)]) for name in names]


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


def columns(found: Sequence[Found]) -> list[Column]:
    """The columns for which there is any figure: recall in both directions, then how alike the aspects are."""
    ks = {int(key.split("@")[1]) for one in found for way in DIRECTIONS for key in getattr(one, way)}
    recalls = [Column(says, f"R@{k}", _recall(way, k), 1, True) for way, says in DIRECTIONS.items() for k in sorted(ks)]
    aspects = [Column("aspects", says, _aspect(key), 2, False) for key, says in ASPECTS.items()]
    return [column for column in recalls + aspects if any(column.read(one) is not None for one in found)]


def _recall(way: str, k: int) -> Callable[[Found], float | None]:
    """In per cent."""

    def read(found: Found) -> float | None:
        share = getattr(found, way).get(f"recall@{k}")
        return None if share is None else 100 * share

    return read


def _aspect(key: str) -> Callable[[Found], float | None]:
    return lambda found: found.aspects.get(key)


def _table(data: str, groups: Sequence[Group]) -> Table:
    runs = [[run for run in each.runs if data in run.results.retrieval] for each in groups]
    found = [[run.results.retrieval[data] for run in some] for some in runs]
    shown = columns([one for some in found for one in some])
    by_column = [[_figure(column, some) for some in found] for column in shown]
    best = [_best(figures) if column.ranked else set() for column, figures in zip(shown, by_column, strict=True)]
    rows = []
    for row, each in enumerate(groups):
        cells = [
            Cell(figure.says(column.digits) if (figure := figures[row]) else printed(None, ""), row in leading)
            for column, figures, leading in zip(shown, by_column, best, strict=True)
        ]
        rows.append((each.name, cells))
    seeds = [[run.results.seed for run in some if run.results.seed is not None] for some in runs]
    return Table(data, shown, rows, seeds, _notes(found, any(best)))


def _figure(column: Column, found: Sequence[Found]) -> Figure | None:
    values = [value for one in found if (value := column.read(one)) is not None]
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


def _notes(found: Sequence[Sequence[Found]], bold: bool) -> list[str]:
    """What a reader must know to read the figures."""
    every = [one for some in found for one in some]
    sizes = sorted({(one.images, one.captions) for one in every if one.images and one.captions})
    notes = ["Recall in %."]
    if len(sizes) == 1:
        images, captions = sizes[0]
        notes = [f"Recall in %, among {images:,} images and {captions:,} captions."]
    if any(len(some) > 1 for some in found):
        notes[0] += " Mean ± standard deviation over seeds."
    if bold:
        notes.append("Bold: the best, and what is within both rows' standard deviations of it.")
    elif len(found) > 1 and all(len(some) > 1 for some in found):
        notes.append("No figure is bold: in each column all rows are within their standard deviations of the best.")
    if len(found) > 1 and min(map(len, found)) == 1:
        note = "With one seed there is no spread to compare with, so no figure is called best"
        error = (
            f"; the choice of test items alone gives a figure a standard error of up to {_standard_error(every):.1f}"
        )
        notes.append(f"{note}{error if sizes else ''}.")
    return notes


def _standard_error(found: Sequence[Found]) -> float:
    """The largest binomial standard error of a recall in the table, in per cent.

    Captions of one image are not independent, so both directions count the images as items.
    """
    return max(
        100 * math.sqrt(share * (1 - share) / one.images)
        for one in found
        if one.images
        for way in DIRECTIONS
        for share in getattr(one, way).values()
    )


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


def _evaluated(each: Group, data: str) -> bool:
    return any(data in run.results.retrieval for run in each.runs)
