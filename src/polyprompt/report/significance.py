"""Which method is better than zero-shot, and by how much luck: ranks over sets, and a paired test.

Both are over what averages are over: of a protocol about transfer the targets, not the source.

Wilcoxon's signed-rank test, two-sided, on pairs of a method's accuracy and zero-shot's on the same pictures with the
same seed (Demsar 2006, JMLR 7, advises it for classifiers over several sets); p values by Holm's correction over the
methods of a table. Seeds of one set are not independent, so p is too small rather than too large: a table says it.
Where zero-shot lies within two standard errors of chance, a set tells nothing, and its pairs are left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from polyprompt.methods import ZERO_SHOT
from polyprompt.report.averages import Column, Grid, Row, column_of, label, set_label

LEAST = 6
"""Pairs with which the test can come below 0.05 at all."""


@dataclass(frozen=True)
class Compared:
    """A method against zero-shot on the same encoder."""

    row: Row
    rank: float
    """Mean rank among the rows of its encoder over what all of them have; 1 is best, equal ones share; else NaN."""
    better: int
    """Figures, a seed each, above zero-shot's."""
    pairs: int
    """How many were compared."""
    p: float | None
    """None where there are too few pairs."""


def compared(grid: Grid) -> list[Compared]:
    """Every row but zero-shot's, best mean rank first."""
    ranks, left_out = mean_ranks(grid), chance_like(grid)
    rows = []
    for row in grid.rows:
        zero = Row(ZERO_SHOT, row.encoder)
        pairs = [] if row == zero else _pairs(grid, row, zero, left_out)
        rows.append(Compared(row, ranks[row], sum(a > b for a, b in pairs), len(pairs), _p(pairs)))
    return sorted(_holm(rows), key=lambda one: (math.isnan(one.rank), one.rank))


def mean_ranks(grid: Grid) -> dict[Row, float]:
    """The mean over columns of each row's rank by its mean over seeds; NaN where no column has all rows."""
    ranks: dict[Row, list[float]] = {row: [] for row in grid.rows}
    for encoder in {row.encoder for row in grid.rows}:
        rows = [row for row in grid.rows if row.encoder == encoder]
        for column in grid.averaged:
            # Equal means of other numbers of seeds may differ in their last bits.
            known = {row: round(grid.figures[row, column].mean, 12) for row in rows if (row, column) in grid.figures}
            if len(known) < len(rows):
                continue  # an easy set would make whoever was tried on it alone look good
            for row, value in known.items():
                above = sum(other > value for other in known.values())
                equal = sum(other == value for other in known.values())
                ranks[row].append(above + (equal + 1) / 2)
    return {row: mean(values) if values else math.nan for row, values in ranks.items()}


def chance_like(grid: Grid) -> set[tuple[str, Column]]:
    """Encoders and columns where zero-shot cannot be told from guessing, of those that are tested on."""
    sizes, tested = {(row, column): size for row, column, size in grid_sizes(grid)}, set(grid.averaged)
    guessed = set()
    for (row, column), figure in grid.figures.items():
        if row.method == ZERO_SHOT and column in tested and (size := sizes.get((row, column))):
            pictures, classes = size
            error = math.sqrt(figure.mean * (1 - figure.mean) / pictures)
            if abs(figure.mean - 1 / classes) <= 2 * error:
                guessed.add((row.encoder, column))
    return guessed


def grid_sizes(grid: Grid) -> list[tuple[Row, Column, tuple[int, int]]]:
    """Pictures and classes behind every accuracy."""
    sizes = []
    for one in grid.results:
        scored = one.figures.get("classification", {})
        assert isinstance(scored, Mapping)
        row = Row(one.cell.method, label(one.cell.encoder))
        for part, scores in scored.items():
            column = column_of(one, set_label(one.cell.data), part)
            sizes.append((row, column, (scores["pictures"], scores["classes"])))
    return sizes


def _pairs(grid: Grid, row: Row, zero: Row, left_out: set[tuple[str, Column]]) -> list[tuple[float, float]]:
    pairs = []
    for column in grid.averaged:
        if (row.encoder, column) in left_out:
            continue
        figure, other = grid.figures.get((row, column)), grid.figures.get((zero, column))
        if figure and other:  # what has a seed was scored on other pictures with another one, or described otherwise
            theirs = {seed: other.by_seed.get(seed, other.by_seed.get(None)) for seed in figure.by_seed}
            pairs += [(figure.by_seed[seed], value) for seed, value in theirs.items() if value is not None]
    return pairs


def _p(pairs: Sequence[tuple[float, float]]) -> float | None:
    from scipy.stats import wilcoxon

    differing = [(a, b) for a, b in pairs if a != b]
    if len(differing) < LEAST:
        return None
    return float(wilcoxon([a - b for a, b in differing]).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def _holm(rows: Sequence[Compared]) -> list[Compared]:
    """The same with p values that hold for all of them together."""
    tested = sorted((one for one in rows if one.p is not None), key=lambda one: one.p or 0.0)
    corrected, so_far = {}, 0.0
    for number, one in enumerate(tested):
        so_far = max(so_far, min(1.0, (len(tested) - number) * (one.p or 0.0)))
        corrected[one.row] = so_far
    return [Compared(one.row, one.rank, one.better, one.pairs, corrected.get(one.row)) for one in rows]
