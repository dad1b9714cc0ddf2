"""What papers print, to stand beside a grid's own figures: CLIP's ViT-B/16, 16 shots, mean of seeds 1 to 3.

published.json names the source of each row. A difference is taken only where encoder, protocol, shots and the number
of scored pictures are the published ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from polyprompt.disk.files import read_json
from polyprompt.report.averages import Column, Grid
from polyprompt.report.significance import grid_sizes
from polyprompt.values import Values

ENCODERS = {"ViT-B-16/openai", "ViT-B-16-quickgelu/openai", "openai/clip-vit-base-patch16"}
"""Names of the encoder that the published rows were made with."""
SOURCE = "imagenet"
"""What published rows were trained on where the source is one set: from another one it is another protocol."""


@dataclass(frozen=True)
class Printed:
    """A published row."""

    method: str
    source: str
    figures: Mapping[Column, float]
    """Shares; averages where it has all sets of the table."""
    differences: Mapping[Column, float]
    """Ours less theirs, where the two can be compared."""


@cache
def _known() -> Values:
    return read_json(Path(__file__).with_name("published.json"))


def published(grid: Grid) -> list[Printed]:
    """The published rows for a grid's methods and sets, where there are any."""
    known = _known()
    if grid.shots not in (None, known["shots"]) or grid.source not in (None, SOURCE):
        return []
    methods = {row.method for row in grid.rows}
    rows = [row for row in known["protocols"].get(grid.protocol, ()) if row["method"] in methods]
    printed = []
    for row in rows:
        figures = {
            column: row["figures"][key] / 100
            for column in grid.columns
            if (key := f"{column.of}/{column.name}") in row["figures"]
        }
        if figures:
            differences = _differences(grid, row["method"], figures)
            printed.append(Printed(row["method"], row["source"], grid.with_averages(figures), differences))
    return printed


def _differences(grid: Grid, method: str, theirs: Mapping[Column, float]) -> dict[Column, float]:
    pictures = _known()["pictures"].get(grid.protocol, {})
    sizes = {(row, column): size[0] for row, column, size in grid_sizes(grid)}
    return {
        column: figure.mean - theirs[column]
        for (row, column), figure in grid.figures.items()
        if row.method == method
        and row.encoder in ENCODERS
        and column in theirs
        and sizes.get((row, column)) == pictures.get(f"{column.of}/{column.name}")
    }
