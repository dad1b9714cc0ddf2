"""Drawings of a grid: base against novel, accuracy against shots, each set against zero-shot."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from polyprompt.report.averages import AVERAGE, Column, Grid, Row
from polyprompt.report.plots import INK, LINE, MUTED, as_svg, canvas, cut, series


def base_against_novel(grid: Grid, names: Mapping[Row, str]) -> str | None:
    """A dot a row: the averages over sets; lines of equal harmonic mean behind them."""
    averages = {row: grid.means(row) for row in grid.rows}
    dots = {
        row: (100 * own[Column(AVERAGE, "base")], 100 * own[Column(AVERAGE, "novel")])
        for row, own in averages.items()
        if Column(AVERAGE, "base") in own
    }
    if not dots:
        return None
    figure, axes = canvas(3.5, 3.0)
    for number, row in enumerate(grid.rows):
        if row in dots:
            axes.plot(*dots[row], "o", color=series(number), markersize=6)
            axes.annotate(cut(names[row]), dots[row], (5, 4), textcoords="offset points", fontsize=7, color=INK)
    _equal_means(axes, list(dots.values()))
    axes.set_xlabel("base", color=MUTED, fontsize=8)
    axes.set_ylabel("novel", color=MUTED, fontsize=8)
    return as_svg(figure, "Accuracy on novel classes against that on base classes, in per cent")


def _equal_means(axes: Axes, dots: Sequence[tuple[float, float]]) -> None:
    """Room around the dots, and lines on which the harmonic mean is the same, a few points apart."""
    xs, ys = zip(*dots, strict=True)
    room = max(2.0, 0.25 * max(max(xs) - min(xs), max(ys) - min(ys)))
    left, right, low, high = min(xs) - room, max(xs) + room, min(ys) - room, max(ys) + room
    step = max(1, round((right - left) / 4))
    for mean in range(step, 101, step):
        line = [left + (right - left) * i / 100 for i in range(101)]
        line = [x for x in line if 2 * x > mean + 1e-6]
        axes.plot(line, [mean * x / (2 * x - mean) for x in line], color=LINE, linewidth=0.7, zorder=0)
    axes.set(xlim=(left, right), ylim=(low, high))


def curves(grids: Sequence[Grid], rows: Sequence[Row]) -> str | None:
    """Mean accuracy over sets against shots, with the spread over seeds of that mean."""
    if len(grids) < 2:
        return None
    figure, axes = canvas(3.5, 2.4)
    for number, row in enumerate(rows):
        points = [(grid.shots or 0, *mean_and_spread(grid, row)) for grid in grids if _whole(grid, row)]
        if not points:
            continue
        shots, means, spreads = zip(*points, strict=True)
        axes.plot(shots, means, "o-", color=series(number), linewidth=1.3, markersize=3.5)
        below, above = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
        axes.fill_between(shots, below, above, color=series(number), alpha=0.18, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks([grid.shots or 1 for grid in grids], [str(grid.shots) for grid in grids])
    axes.minorticks_off()
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_xlabel("pictures a class", color=MUTED, fontsize=8)
    return as_svg(figure, "Mean accuracy over all sets against the number of training pictures a class, in per cent")


def mean_and_spread(grid: Grid, row: Row) -> tuple[float, float]:
    """Over seeds, of the mean over sets, in per cent."""
    figures = [grid.figures[row, column] for column in grid.columns]
    seeds = set.intersection(*(set(figure.by_seed) for figure in figures))
    means = [100 * sum(figure.by_seed[seed] for figure in figures) / len(figures) for seed in seeds]
    middle = 100 * sum(figure.mean for figure in figures) / len(figures)
    if len(means) < 2:
        return middle, 0.0
    return middle, (sum((one - sum(means) / len(means)) ** 2 for one in means) / (len(means) - 1)) ** 0.5


def _whole(grid: Grid, row: Row) -> bool:
    return all((row, column) in grid.figures for column in grid.columns)


def against_zero_shot(grid: Grid, row: Row, number: int) -> str | None:
    """A bar a figure: how far a row lies above or below zero-shot of its encoder."""
    zero = Row("zeroshot", row.encoder)
    both = [column for column in grid.columns if {(row, column), (zero, column)} <= set(grid.figures)]
    if not both or row == zero:
        return None
    gains = [100 * (grid.figures[row, column].mean - grid.figures[zero, column].mean) for column in both]
    figure, axes = canvas(3.5, 0.5 + 0.22 * len(both))
    places = range(len(both))
    axes.barh(places, gains, color=series(number), alpha=0.85, height=0.7)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_yticks(
        places, [cut(f"{column.of} {column.name}") for column in both], fontsize=7, color=INK, parse_math=False
    )
    axes.set_ylim(len(both) - 0.5, -0.5)
    return as_svg(figure, f"{row.method}: points of accuracy above zero-shot, set by set")
