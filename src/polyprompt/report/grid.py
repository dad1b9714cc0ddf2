"""A grid's tables: on a terminal, in Markdown, as CSV, and for LaTeX (booktabs)."""

import csv
import io
import itertools
import math
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from polyprompt.data.messages import count
from polyprompt.progress import duration
from polyprompt.report.averages import (
    AVERAGE,
    HM,
    Column,
    Grid,
    Row,
    figures_of,
    retrieval_column,
    set_label,
)
from polyprompt.report.distinct import set_otherwise
from polyprompt.report.published import Printed, published
from polyprompt.report.significance import LEAST, Compared, chance_like, compared, grid_sizes
from polyprompt.report.words import printed
from polyprompt.runs.cells import Result


@dataclass(frozen=True)
class Shown:
    """A table, ready to be printed: its title, columns, rows of texts, and what a reader must know."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[str]]]
    notes: Sequence[str]
    compared: Sequence[Compared]
    names: Mapping[Row, str]
    """What rows are called here."""

    @property
    def header(self) -> list[tuple[str, int]]:
        """What neighbouring columns belong to, with how many they are."""
        return [(of, len(list(some))) for of, some in groupby(self.columns, key=lambda column: column.of)]


def shown(grid: Grid) -> Shown:
    """A grid as a table: chance first, own rows, published ones behind them."""
    means, spreads = ({row: of(row) for row in grid.rows} for of in (grid.means, grid.spreads))
    columns: list[Column] = []
    for column in grid.columns:
        columns += [column, Column(column.of, HM)] if column.name == "novel" else [column]
    if len(grid.averaged) > (2 if grid.protocol == "base-to-novel" else 1):
        columns += dict.fromkeys(c for figures in means.values() for c in figures if c.of == AVERAGE)
    theirs = published(grid)
    rows = [("chance", [_text(column, value) for column, value in _chance(grid, columns)])]
    for row in grid.rows:
        cells = [_text(column, means[row].get(column), spreads[row].get(column)) for column in columns]
        rows.append((name_of(row, grid), cells))
    for one in theirs:
        rows.append((f"{one.method}, published", [_text(column, one.figures.get(column)) for column in columns]))
        if one.differences:
            rows.append((f"{one.method}, ours less published", [_signed(one.differences.get(c)) for c in columns]))
    known = any(cell != printed(None, "") for cell in rows[0][1])
    shots = f", {grid.shots} shot{'s' * (grid.shots > 1)}" if grid.shots else ""
    tested = compared(grid) if grid_sizes(grid) and len(grid.rows) > 1 else []
    title = f"{grid.protocol} from {grid.source}" if grid.source else grid.protocol
    names = {row: name_of(row, grid) for row in grid.rows}
    notes = list(_notes(grid, columns, theirs))
    return Shown(f"{title}{shots}", columns, rows if known else rows[1:], notes, tested, names)


def name_of(row: Row, grid: Grid) -> str:
    """A row's name; the encoder is said where there are several."""
    if len({other.encoder for other in grid.rows}) == 1:
        return row.method if row.method != "as it is" else row.encoder
    return row.encoder if row.method == "as it is" else f"{row.method}, {row.encoder}"


def title_of(column: Column) -> str:
    """A column in one line: its set and what stands in it; of an average what it is."""
    if column.of != AVERAGE:
        return f"{column.of} {column.name}".strip()
    labels = {"mean": "average", "targets": "average over targets"}
    return labels.get(column.name, column.name if "average" in column.name else f"average {column.name}")


def _place_of(column: Column) -> str:
    """The same within a sentence, where accuracy goes without saying."""
    return title_of(column).removesuffix(" accuracy")


def _text(column: Column, value: float | None, spread: float | None = None) -> str:
    """A share in per cent, a rank as it is; the spread over seeds behind it."""
    times, form = (1, ".1f") if column.name in ("MdR", "MnR") else (100, ".2f")
    text = printed(None if value is None else times * value, form)
    return text if spread is None else f"{text} ± {printed(times * spread, form)}"


def _signed(value: float | None) -> str:
    return printed(None if value is None else 100 * value, "+.2f")


def _chance(grid: Grid, columns: Sequence[Column]) -> Iterator[tuple[Column, float | None]]:
    """What guessing gives: one class of all, one answer of all, no correlation."""
    guessed = {column: 1 / classes for _, column, (_, classes) in grid_sizes(grid)}
    for one in grid.results:
        if one.cell.task == "retrieve":
            guessed |= guessed_retrieval(one)
        elif one.cell.task == "compare":
            guessed |= {column: 0.0 for column, _ in figures_of(one)}
    guessed = grid.with_averages(guessed)
    for column in columns:
        yield column, guessed.get(column)


def guessed_retrieval(result: Result) -> dict[Column, float]:
    """Expected recalls and ranks of answers in random order; each picture is taken to have as many captions."""
    images, captions = (float(str(result.figures[name])) for name in ("images", "captions"))
    guessed, measured = {}, result.figures["retrieval"]
    assert isinstance(measured, Mapping)
    for way, figures in measured.items():
        answers, right = (captions, captions / images) if way == "image_to_text" else (images, 1.0)
        missed = itertools.accumulate(
            (max(0.0, answers - right - place) / (answers - place) for place in range(int(answers))), operator.mul
        )
        found = [1 - one for one in missed]
        for key in figures:
            column = retrieval_column(set_label(result.cell.data), way, key)
            if key == "mean_rank":
                guessed[column] = (answers + 1) / (right + 1)
            elif key == "median_rank":
                half = next(place for place, share in enumerate(found, 1) if share > 0.5 - 1e-9)
                guessed[column] = (answers + 1) / 2 if right == 1 else float(half)
            else:
                guessed[column] = found[min(int(key.partition("@")[2]), len(found)) - 1]
    return guessed


def _notes(grid: Grid, columns: Sequence[Column], theirs: Sequence[Printed]) -> Iterator[str]:
    """What a reader must know."""
    if grid.protocol == "retrieval":
        yield "Recall in %, median and mean rank from 1; grouped: a rank counts wrong pictures or videos, not texts."
    elif grid.protocol == "sts":
        yield "Spearman's correlation of cosines with people's scores, times 100."
    else:
        yield "Accuracy in %, of all scored pictures."
    if any(figure.spread is not None for figure in grid.figures.values()):
        averages = " Averages are over sets, of their means, with the ± of each seed's own average."
        yield "Mean ± standard deviation over seeds." + averages * any(column.of == AVERAGE for column in columns)
    if grid.averaged and grid.averaged != grid.columns:
        yield "Averages, ranks and the test are over targets; what was trained on stands apart."
    yield from _fewer_seeds(grid)
    sizes: dict[Column, set[tuple[int, int]]] = {}
    for _, column, size in grid_sizes(grid):
        sizes.setdefault(column, set()).add(size)
    if mixed := [title_of(column) for column, counts in sizes.items() if len(counts) > 1]:
        yield f"Not to be compared row by row, other pictures or classes were scored: {', '.join(mixed)}."
    if differing := set_otherwise(grid.results):
        yield f"With other settings on one encoder than on another: {', '.join(differing)}."
    precisions = {str(one.cell.settings.get("precision")) for one in grid.results if one.cell.seed is not None}
    if len(precisions) > 1:
        yield f"Rows were trained in {' and '.join(sorted(precisions))}."
    several = len({row.encoder for row in grid.rows}) > 1
    if guessed := sorted(_place_of(column) + f" with {encoder}" * several for encoder, column in chance_like(grid)):
        yield f"Zero-shot lies within two errors of chance on {', '.join(guessed)}: left out of the test."
    if theirs:
        by_source: dict[str, list[str]] = {}
        for one in theirs:
            by_source.setdefault(one.source, []).append(one.method)
        sources = "; ".join(f"{', '.join(methods)}: {source}" for source, methods in by_source.items())
        yield f"Published: CLIP's ViT-B/16, 16 shots; {sources}."
        if not any(one.differences for one in theirs):
            yield "Nothing is subtracted from published figures: ours are of another encoder or of other pictures."


def _fewer_seeds(grid: Grid) -> Iterator[str]:
    """Which means are of fewer seeds than the table has: cells that failed, or were not asked for."""
    every = {seed for figure in grid.figures.values() for seed in figure.by_seed if seed is not None}
    short: dict[Row, dict[tuple[int, ...], list[str]]] = {}
    for (row, column), figure in grid.figures.items():
        seeds = tuple(sorted(seed for seed in figure.by_seed if seed is not None))
        if seeds and set(seeds) != every:
            short.setdefault(row, {}).setdefault(seeds, []).append(_place_of(column))
    told = []
    for row, by_seeds in short.items():
        whole = len({column for who, column in grid.figures if who == row})
        for seeds, columns in by_seeds.items():
            where = "" if len(columns) == whole else f" on {', '.join(columns)}"
            told.append(f"{name_of(row, grid)}{where} ({', '.join(map(str, seeds))})")
    if told:
        most = ", ".join(map(str, sorted(every)))
        yield f"Means of fewer seeds than {most}, not to be set beside others: {'; '.join(told)}."


def ranking(one: Shown) -> list[tuple[str, Sequence[str]]]:
    """The comparison with zero-shot as rows of text, a header first."""
    rows: list[tuple[str, Sequence[str]]] = [("", ("mean rank", "above zero-shot", "p"))]
    for who in one.compared:
        p = printed(None, "") if who.p is None else printed(who.p, ".3f") if who.p >= 0.001 else "< 0.001"
        of = printed(None, "") if not who.pairs else f"{who.better} of {who.pairs}"
        rank = printed(None if math.isnan(who.rank) else who.rank, ".2f")
        rows.append((one.names[who.row], (rank, of, p)))
    return rows


TEST = (
    "Rank among the rows of one encoder, over the figures that all of them have; 1 is best. p: Wilcoxon's signed-rank "
    "test against zero-shot on pairs of a set and a seed, two-sided, Holm's correction; seeds of one set are not "
    f"independent, so it is a lower bound, and with fewer than {LEAST} pairs that differ there is none."
)


# Formats


def markdown(tables: Sequence[Shown], results: Sequence[Result], failed: Sequence[str] = ()) -> str:
    """All tables in GitHub's Markdown, and how they were made; and what failed and is missing, in a line each."""
    parts = []
    for one in tables:
        names = [title_of(column) for column in one.columns]
        parts += [f"## {_plain(one.title)}", "", *_markdown([("", names), *one.rows]), ""]
        parts += [f"{_plain(note)}\n" for note in one.notes]
        if one.compared:
            parts += [*_markdown(ranking(one)), "", f"{TEST}\n"]
    return "\n".join([*parts, *made_by(results), *(f"\n{_plain(line)}" for line in failed)]) + "\n"


def _markdown(rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A table whose first row is its header."""
    (_, header), *_ = rows
    plain = [("", list(map(_plain, header))), *((_plain(name), cells) for name, cells in rows[1:])]
    lines = ["| " + " | ".join((name, *cells)) + " |" for name, cells in plain]
    return [lines[0], "| --- |" + " ---: |" * len(rows[0][1]), *lines[1:]]


def _plain(text: str) -> str:
    """Text on one line that Markdown shows as it is; a line within a word means nothing there."""
    return re.sub(r"([\\`*\[\]<>|]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def made_by(results: Sequence[Result]) -> list[str]:
    """Machines, dates and time, in a line each."""
    dates = sorted({one.date for one in results})
    machines = dict.fromkeys(one.machine for one in results)
    seconds = sum(one.seconds for one in results)
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return [f"{count(len(results), 'result')}, {days}, {duration(seconds)} of work, on {'; '.join(machines)}."]


def comma_separated(results: Sequence[Result]) -> str:
    """Every figure of every cell, unrounded, a line each."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["protocol", "encoder", "method", "data", "shots", "seed", "of", "figure", "value", "cell"])
    for one in results:
        cell = one.cell
        for column, value in figures_of(one):
            same = [cell.protocol, cell.encoder, cell.method, cell.data, cell.shots, cell.seed]
            table.writerow([*same, column.of, column.name, repr(value), cell.name])
    return file.getvalue()


def latex(tables: Sequence[Shown], failed: Sequence[str] = ()) -> str:
    """Tables for LaTeX with the package booktabs; in comments what must be known, and what failed and is missing."""
    parts = [f"% {' '.join(line.split())}" for line in failed]
    for one in tables:
        of = " & ".join(rf"\multicolumn{{{span}}}{{c}}{{{_tex(name)}}}" for name, span in one.header)
        head = " & ".join(_tex(column.name) for column in one.columns)
        body = [rf"{_tex_name(name)} & {' & '.join(map(_tex, cells))} \\" for name, cells in one.rows]
        parts += [
            " ".join(f"% {one.title}. {' '.join(one.notes)}".split()),
            rf"\begin{{tabular}}{{l{'r' * len(one.columns)}}}",
            r"\toprule",
            rf"& {of} \\",
            rf"& {head} \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    return "\n".join(parts)


def _tex_name(name: str) -> str:
    """A row's first cell; the row before it ends in a command that would take a star or a bracket for its own."""
    return ("{}" if name.startswith(("*", "[")) else "") + _tex(name)


def _tex(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", printed(None, ""): "--", "\N{MINUS SIGN}": "$-$", "±": r"$\pm$", "→": r"$\to$"}
    signs |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}  # other signs in TeX's own fonts
    signs |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(signs.get(letter, letter) for letter in text)
