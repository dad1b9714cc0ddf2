"""A grid's tables in every format."""

import csv
import io

from toy_grid import few_shot

from polyprompt.report.averages import grids
from polyprompt.report.grid import markdown, ranking, shown
from polyprompt.report.grid_page import write_report


def test_what_cannot_be_compared_is_said():
    results = few_shot()
    results[3].figures["classification"]["test"]["pictures"] = 7
    (grid,) = grids(results)
    assert any("Not to be compared" in note and "dtd" in note and "cars" not in note for note in shown(grid).notes)


def test_csv_has_every_figure_unrounded(grid_folder, tmp_path):
    write_report(grid_folder, tmp_path / "all.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert len(rows) == 28
    assert {float(row["value"]) for row in rows if row["method"] == "maple" and row["data"] == "cars"} == {
        0.66,
        0.67,
        0.68,
    }


def test_latex_has_booktabs_and_no_bare_signs(grid_folder, tmp_path):
    write_report(grid_folder, tmp_path / "all.tex")
    text = (tmp_path / "all.tex").read_text()
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert r"maple & 67.00 $\pm$ 1.00 & 77.00 $\pm$ 1.00" in text
    assert "±" not in text.replace(text.splitlines()[0], "")


def test_markdown_rows_have_as_many_cells_as_the_header():
    results = few_shot()
    tables = [shown(grid) for grid in grids(results)]
    lines = [line for line in markdown(tables, results).splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in lines if "accuracy" in line or "zeroshot |" in line} <= {7, 5}
    assert dict(ranking(tables[0]))["maple"][1] == "12 of 12"
