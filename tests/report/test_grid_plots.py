"""Drawings of a grid."""

from toy_grid import result

from polyprompt.report.averages import grids
from polyprompt.report.grid_plots import base_against_novel, mark
from polyprompt.report.plots import series


def drawn(figures):
    """The names that stand in a drawing of base against novel, of methods with these figures."""
    found = [
        result(f"m{number:02}", "pets", 1, {"base": base, "novel": novel}, protocol="base-to-novel")
        for number, (base, novel) in enumerate(figures)
    ]
    (grid,) = grids(found)
    svg = base_against_novel(grid, {row: row.method for row in grid.rows})
    assert svg is not None
    return [name for name in (f"m{number:02}" for number in range(len(figures))) if f">{name}<" in svg]


def test_names_in_a_drawing_stand_apart():
    """All of them where there is room; a few of those in one place, whose others the legend has."""
    assert len(drawn([(0.4 + 0.04 * i, 0.8 - 0.05 * i) for i in range(10)])) == 10
    assert 1 <= len(drawn([(0.5, 0.5)] * 12)) <= 6


def test_marks_and_colours_tell_rows_apart():
    assert len({(mark(number), series(number)) for number in range(32)}) == 32
