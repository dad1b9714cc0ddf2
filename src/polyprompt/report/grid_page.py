"""One HTML page about a grid: tables, drawings, comparison with zero-shot, hardest classes. Nothing is fetched."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from polyprompt.disk.files import write_text
from polyprompt.errors import FileError
from polyprompt.report import grid_plots
from polyprompt.report.averages import Grid, grids
from polyprompt.report.distinct import with_distinct_names
from polyprompt.report.grid import TEST, comma_separated, latex, made_by, markdown, name_of, ranking, shown
from polyprompt.report.hardest import hardest
from polyprompt.report.page import render
from polyprompt.runs.cells import failed_in, results_in

FORMS = ("", ".html", ".htm", ".md", ".csv", ".tex")
"""How the names of reports may end; without an ending it is a page."""


def write_report(folder: Path, out: Path) -> str:
    """Writes what a grid's folder holds, in the form that `out` ends like: .html, .md, .csv, .tex.

    Returns:
        its tables in Markdown, for the terminal.

    Raises:
        FileError: no grid, no result, a damaged one, no such form, or the report cannot be written.
    """
    if out.suffix.lower() not in FORMS:
        raise FileError(f"{out}: a report of a grid is written as {', '.join(FORMS[1:])}. Give a name that ends so.")
    results = with_distinct_names(results_in(folder))
    if not results:
        raise FileError(
            f"{folder}: holds no results yet. Run the same `polyprompt run` again; it does what is missing."
        )
    all_grids = grids(results)
    tables = [shown(grid) for grid in all_grids]
    failed = [f"Failed, without a result: {line}" for line in failed_in(folder)]
    text = markdown(tables, results, failed)
    if out.suffix.lower() == ".md":
        write_text(out, text)
    elif out.suffix.lower() == ".csv":
        write_text(out, comma_separated(results))
    elif out.suffix.lower() == ".tex":
        write_text(out, latex(tables, failed))
    else:
        page = render(
            "grid.html",
            title=", ".join(dict.fromkeys(grid.protocol for grid in all_grids)) or folder.name,
            counted=f"{len(results)} result{'s' * (len(results) != 1)}",
            sections=list(_sections(all_grids)),
            test=TEST,
            hardest=hardest(results),
            made_by=[*made_by(results), *failed],
            widest=0,
        )
        write_text(out, page)
    return text


def _sections(all_grids: Sequence[Grid]) -> Iterator[dict[str, object]]:
    """A section a table; what needs all numbers of shots stands behind the last of a protocol."""
    for _, same in groupby(all_grids, key=lambda grid: (grid.protocol, grid.source)):
        some = list(same)
        for grid in some:
            table = shown(grid)
            drawn = list(_plots(grid, some if grid is some[-1] else []))
            names = [name_of(row, grid) for row in grid.rows]
            yield {"table": table, "ranking": ranking(table) if table.compared else [], "plots": drawn, "names": names}


def _plots(grid: Grid, some: Sequence[Grid]) -> Iterator[dict[str, str]]:
    names = {row: name_of(row, grid) for row in grid.rows}
    if svg := grid_plots.base_against_novel(grid, names):
        yield {"title": "Base against novel", "legend": "averages over sets; lines of equal harmonic mean", "svg": svg}
    if svg := grid_plots.curves(some, grid.rows):
        yield {"title": "Accuracy against shots", "legend": "mean over sets; band: spread over seeds", "svg": svg}
    for number, row in enumerate(grid.rows):
        if svg := grid_plots.against_zero_shot(grid, row, number):
            yield {"title": f"{names[row]} less zero-shot", "legend": "points of accuracy", "svg": svg}
