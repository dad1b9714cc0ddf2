"""Drawings of a grid: base against novel, accuracy against shots, each set against zero-shot."""

import itertools
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from polyprompt.evaluate.classify import harmonic_mean
from polyprompt.methods import ZERO_SHOT
from polyprompt.report.averages import AVERAGE, Column, Grid, Row
from polyprompt.report.plots import INK, LINE, MUTED, SERIES, as_svg, canvas, cut, series

MARKS = ("o", "s", "^", "D")
"""Of the first eight rows, the next eight, and so on; colours begin again there."""
SIGN = 0.6 * 7, 1.3 * 7
"""Width and height of a letter of a row's name, in points."""


def mark(number: int) -> str:
    """How the points of a row are drawn; with its colour it is told from all others."""
    return MARKS[number // SERIES % len(MARKS)]


def base_against_novel(grid: Grid, names: Mapping[Row, str]) -> str | None:
    """A dot a row: the averages over sets; lines of equal harmonic mean behind them."""
    averages = {row: grid.means(row) for row in grid.rows}
    dots = {
        row: (100 * means[Column(AVERAGE, "base")], 100 * means[Column(AVERAGE, "novel")])
        for row, means in averages.items()
        if Column(AVERAGE, "base") in means
    }
    if not dots:
        return None
    figure, axes = canvas(3.5, 3.0)
    for number, row in enumerate(grid.rows):
        if row in dots:
            axes.plot(*dots[row], mark(number), color=series(number), markersize=6)
    _equal_means(axes, list(dots.values()))
    axes.set_xlabel("base", color=MUTED, fontsize=8)
    axes.set_ylabel("novel", color=MUTED, fontsize=8)
    figure.draw_without_rendering()  # places are known from now on
    _named(axes, {cut(names[row]): dot for row, dot in dots.items()})
    return as_svg(figure, "Accuracy on novel classes against that on base classes, in per cent")


def _named(axes: Axes, dots: Mapping[str, tuple[float, float]]) -> None:
    """Names beside their dots, where one finds room; the legend has all of them."""
    inch = 72 / axes.figure.dpi
    points = {name: [inch * float(at) for at in axes.transData.transform(dot)] for name, dot in dots.items()}
    left, low, right, high = [inch * float(side) for side in axes.bbox.extents]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in points.values()]
    for name, (x, y) in points.items():
        width, height = SIGN[0] * len(name), SIGN[1]
        for side, dy in itertools.product(("left", "right"), (-3, 4, -11)):
            dx = 6 if side == "left" else -6
            begin = x + dx if side == "left" else x + dx - width
            box = (begin, y + dy, begin + width, y + dy + height)
            inside = left <= box[0] and box[2] <= right and low <= box[1] and box[3] <= high
            if inside and not any(_overlap(box, other) for other in taken):
                where = {"xytext": (dx, dy), "textcoords": "offset points", "ha": side}
                axes.annotate(name, dots[name], **where, fontsize=7, color=INK, parse_math=False)
                taken.append(box)
                break


Box = tuple[float, float, float, float]
"""Left, low, right, high."""


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _equal_means(axes: Axes, dots: Sequence[tuple[float, float]]) -> None:
    """Room around the dots, and some lines on which the harmonic mean is the same, each with its number."""
    (left, right), (low, high) = (_with_room(values) for values in zip(*dots, strict=True))
    least, most = harmonic_mean(left, low), harmonic_mean(right, high)
    step = max(1, round((most - least) / 6))
    for mean in range(step * (int(least / step) + 1), int(most) + 1, step):
        xs = [x for x in (left + (right - left) * i / 100 for i in range(101)) if 2 * x > mean + 1e-6]
        line = [(x, mean * x / (2 * x - mean)) for x in xs]
        shown = [(x, y) for x, y in line if low <= y <= high]
        axes.plot(*zip(*line, strict=True), color=LINE, linewidth=0.7, zorder=0)
        if shown:
            axes.annotate(
                str(mean), shown[-1], xytext=(-1, 1), textcoords="offset points", ha="right", color=MUTED, fontsize=6
            )
    axes.set(xlim=(left, right), ylim=(low, high))


def _with_room(values: Sequence[float]) -> tuple[float, float]:
    room = max(2.0, 0.2 * (max(values) - min(values)))
    return max(0.0, min(values) - room), min(100.0, max(values) + room)


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
        axes.plot(shots, means, f"{mark(number)}-", color=series(number), linewidth=1.3, markersize=3.5)
        below, above = ([m + sign * s for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
        axes.fill_between(shots, below, above, color=series(number), alpha=0.18, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks([grid.shots or 1 for grid in grids], [str(grid.shots) for grid in grids])
    axes.minorticks_off()
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_xlabel("pictures a class", color=MUTED, fontsize=8)
    return as_svg(figure, "Mean accuracy over all sets against the number of training pictures a class, in per cent")


def mean_and_spread(grid: Grid, row: Row) -> tuple[float, float]:
    """Over seeds, of the mean over sets that the table has, in per cent."""
    figures = [grid.figures[row, column] for column in grid.averaged]
    seeds = set.intersection(*(set(figure.by_seed) for figure in figures))
    means = [100 * sum(figure.by_seed[seed] for figure in figures) / len(figures) for seed in seeds]
    middle = 100 * sum(figure.mean for figure in figures) / len(figures)
    if len(means) < 2:
        return middle, 0.0
    return middle, (sum((one - sum(means) / len(means)) ** 2 for one in means) / (len(means) - 1)) ** 0.5


def _whole(grid: Grid, row: Row) -> bool:
    return bool(grid.averaged) and all((row, column) in grid.figures for column in grid.averaged)


def against_zero_shot(grid: Grid, row: Row, number: int) -> str | None:
    """A bar a figure: how far a row lies above or below zero-shot of its encoder."""
    zero = Row(ZERO_SHOT, row.encoder)
    both = [column for column in grid.columns if {(row, column), (zero, column)} <= set(grid.figures)]
    if not both or row == zero:
        return None
    gains = [
        round(100 * (grid.figures[row, column].mean - grid.figures[zero, column].mean), 9) for column in both
    ]  # the last bits of equal means are no bar
    figure, axes = canvas(3.5, 0.5 + 0.22 * len(both))
    places = range(len(both))
    axes.barh(places, gains, color=series(number), alpha=0.85, height=0.7)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_yticks(
        places, [cut(f"{column.of} {column.name}", 32) for column in both], fontsize=7, color=INK, parse_math=False
    )
    axes.set_ylim(len(both) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return as_svg(figure, f"{row.method}: points of accuracy above zero-shot, set by set")
