"""Curves, dots and heat maps as inline SVG that takes its colours and its font from the page around it.

matplotlib draws with stand-in colours, which are then replaced by the page's CSS variables: one drawing serves light
mode, dark mode and print.
"""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import mean, stdev

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from polyprompt.disk.files import digest
from polyprompt.report.words import printed

SERIES = 8
"""Colours that the page has for experiments, `--s0` to `--s7`; further ones begin again."""
STAND_INS = {"#0a0b01": "--ink", "#0a0b02": "--muted", "#0a0b03": "--line", "#0a0b04": "--warm", "#0a0b05": "--cool"}
STAND_INS |= {f"#0a0c{number:02x}": f"--s{number}" for number in range(SERIES)}
INK, MUTED, LINE, WARM, COOL = list(STAND_INS)[:5]
POINTS = 160
"""Longer curves are averaged down to so many points."""


@dataclass(frozen=True)
class Curve:
    """One line of a plot; `colour` is the number of its experiment."""

    x: Sequence[float | int]
    y: Sequence[float | int]
    colour: int
    dashed: bool = False


@dataclass(frozen=True)
class Dots:
    """One row of a plot: a figure of an experiment, one value per seed."""

    name: str
    values: Sequence[float | int]
    colour: int


def curves(lines: Sequence[Curve], label: str) -> str:
    """Lines over training steps; `label` says what is shown, for those who cannot see it."""
    figure, axes = canvas(3.5, 1.9)
    for line in lines:
        x, y = _averaged(line.x, line.y)
        style = (0, (3, 2)) if line.dashed else "solid"
        # A lone point is no line.
        mark = "o" if len(x) == 1 else ""
        axes.plot(
            x, y, color=series(line.colour), linewidth=1.4, alpha=0.85, marker=mark, markersize=3.5, linestyle=style
        )
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_xlabel("step", color=MUTED, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return as_svg(figure, label)


def dots(rows: Sequence[Dots], label: str) -> str:
    """A row per experiment: a dot per seed, a bar from mean - std to mean + std, a tick at the mean."""
    figure, axes = canvas(3.5, 0.55 + 0.32 * len(rows))
    for y, row in enumerate(rows):
        colour = series(row.colour)
        if len(row.values) > 1:
            middle, spread = mean(row.values), stdev(row.values)
            axes.plot([middle - spread, middle + spread], [y, y], color=colour, linewidth=7, alpha=0.25)
            axes.plot([middle, middle], [y - 0.22, y + 0.22], color=colour, linewidth=1.6)
        axes.plot(row.values, [y] * len(row.values), "o", color=colour, markersize=4.5, alpha=0.9, markeredgewidth=0)
    axes.set_yticks(range(len(rows)), [cut(row.name) for row in rows], fontsize=8, color=INK, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.06 * max(value for row in rows for value in row.values) or 1)  # from 0: no difference blown up
    axes.grid(axis="x", color=LINE, linewidth=0.6)
    return as_svg(figure, label)


def heat(matrix: Sequence[Sequence[float | int | None]], names: Sequence[str], label: str) -> str:
    """A square of numbers from -1 to 1: warm above zero, cool below, the stronger the further from it."""
    k = len(matrix)
    figure, axes = canvas(0.9 + 0.46 * k, 0.5 + 0.46 * k)
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            colour = WARM if (value or 0) >= 0 else COOL
            axes.bar(column, 0.94, 0.94, row - 0.47, color=colour, alpha=0.85 * abs(value or 0), linewidth=0)
            axes.text(column, row, printed(value, ".2f"), ha="center", va="center", fontsize=7.5, color=INK)
    short, text = [cut(name, 14) for name in names], {"fontsize": 8, "color": INK, "parse_math": False}
    axes.set_xticks(range(k), short, rotation=35, ha="right", **text)
    axes.set_yticks(range(k), short, **text)
    axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), aspect="equal")
    axes.spines[:].set_visible(False)
    return as_svg(figure, label)


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches, with one plot in it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED)
    return figure, axes


def as_svg(figure: Figure, label: str) -> str:
    """The figure for the page: text as text, no ids that another figure may have, no fixed size, nothing from afar."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "polyprompt"}), warnings.catch_warnings():
        # Text is measured with matplotlib's font and shown in the page's: a sign missing in the first does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for stand_in, variable in STAND_INS.items():
        svg = svg.replace(stand_in, f"var({variable})")
    prefix = "f" + digest(svg, label)[:8]
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: f' id="{prefix}{match[1]}"' if match[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    head = f'<svg class="plot" role="img" aria-label="{escape(label)}"'
    return re.sub(r"\n\s*", "\n", re.sub(r'<svg width="[^"]*" height="[^"]*"', lambda _: head, svg, count=1))


def _averaged(x: Sequence[float | int], y: Sequence[float | int]) -> tuple[list[float], list[float]]:
    """Neighbours averaged until at most `POINTS` are left."""
    size = -(-len(x) // POINTS)
    parts = [slice(at, at + size) for at in range(0, len(x), max(size, 1))]
    means = [[sum(values[part]) / len(values[part]) for part in parts] for values in (x, y)]
    return means[0], means[1]


def series(number: int) -> str:
    """The colour of an experiment."""
    return list(STAND_INS)[5 + number % SERIES]


def cut(name: str, length: int = 24) -> str:
    """A name that fits."""
    return name if len(name) <= length else name[: length - 1] + "…"
