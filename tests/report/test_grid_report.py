"""A grid's report: averages as papers take them, ranks and tests against scipy and a slow loop, every format."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from run_files import as_of_version
from scipy.stats import wilcoxon

from polyprompt import report
from polyprompt.cli.main import run as main
from polyprompt.errors import FileError
from polyprompt.report.averages import Column, Row, grids, label, set_label
from polyprompt.report.distinct import with_distinct_names
from polyprompt.report.grid import markdown, ranking, shown
from polyprompt.report.grid_page import write_report
from polyprompt.report.grid_plots import base_against_novel, mark
from polyprompt.report.plots import series
from polyprompt.report.significance import chance_like, compared
from polyprompt.runs import cells
from polyprompt.runs.cells import Cell, Result, write_result

SETS = ("pets", "cars", "food", "dtd")
MADE = {"machine": "a machine", "date": "2026-11-01"}


def result(method, data, seed, classification, *, protocol="few-shot", shots=4, encoder="toy", **settings):
    scores = {
        part: {
            "accuracy": accuracy, "macro_f1": accuracy, "calibration_error": 0.1, "pictures": 400, "classes": 10,
            "class_accuracy": {"cat": accuracy, "dog": 1.0}, "confused": {"cat": {"dog": 40}},
        }
        for part, accuracy in classification.items()
    }  # fmt: skip
    cell = Cell(
        protocol=protocol,
        task="classify",
        method=method,
        encoder=encoder,
        data=data,
        seed=seed,
        shots=None if method == "zeroshot" else shots,
        settings={"seed": seed, "data": data, "precision": "fp32", "method": method} | settings,
        inputs={"data": data},
    )
    return Result(cell, {"classification": scores}, 3.0, **MADE)


def few_shot():
    """Three methods: zero-shot, one that is better nearly everywhere, one that is not."""
    found = [result("zeroshot", data, None, {"test": 0.5 + 0.05 * i}) for i, data in enumerate(SETS)]
    for i, data in enumerate(SETS):
        for seed in (1, 2, 3):
            found.append(result("maple", data, seed, {"test": 0.6 + 0.05 * i + 0.01 * seed}))
            found.append(result("coop", data, seed, {"test": 0.5 + 0.05 * i + 0.02 * (seed - 2) + 0.001 * i}))
    return found


def test_averages_are_those_that_papers_print():
    """MaPLe's eleven sets, as published: 78.55 is of the averages, 78.27 the average of the sets' own."""
    known = json.loads(Path(report.__path__[0], "published.json").read_text())
    (maple,) = [row for row in known["protocols"]["base-to-novel"] if row["method"] == "maple"]
    figures = {name: value / 100 for name, value in maple["figures"].items()}
    found = []
    for name in dict.fromkeys(name.partition("/")[0] for name in figures):
        halves = {half: figures[f"{name}/{half}"] for half in ("base", "novel")}
        found.append(result("maple", name, 1, halves, protocol="base-to-novel", shots=16))
    (grid,) = grids(found)
    means = grid.means(Row("maple", "toy"))
    averages = {column.name: round(100 * value, 2) for column, value in means.items() if column.of == "average"}
    assert averages == {"base": 82.28, "novel": 75.14, "hm of averages": 78.55, "average of hms": 78.27}


def test_seeds_first_then_sets_and_no_mean_with_a_gap():
    results = few_shot()
    (grid,) = grids(results)
    average = Column("average", "mean")
    expected = mean(mean(0.6 + 0.05 * i + 0.01 * seed for seed in (1, 2, 3)) for i in range(4))
    assert grid.means(Row("maple", "toy"))[average] == pytest.approx(expected)
    (gap,) = grids([one for one in results if (one.cell.method, one.cell.data) != ("maple", "dtd")])
    assert average not in gap.means(Row("maple", "toy"))
    assert average in gap.means(Row("coop", "toy"))


def test_the_source_stands_apart_from_the_targets():
    values = {"test": 0.9, "cars": 0.5, "dtd": 0.3}
    (grid,) = grids([result("maple", "pets", 1, values, protocol="cross-dataset", shots=16)])
    assert grid.columns == [Column("pets", "accuracy"), Column("cars", "accuracy"), Column("dtd", "accuracy")]
    assert grid.means(Row("maple", "toy"))[Column("average", "targets")] == pytest.approx(0.4)


def test_ranks_and_test_are_those_of_scipy():
    (grid,) = grids(few_shot())
    found = {one.row.method: one for one in compared(grid)}
    assert compared(grid)[0].row.method == "maple"
    assert found["maple"].rank == 1.0
    assert (found["maple"].better, found["maple"].pairs) == (12, 12)
    plain = {}
    for name in ("maple", "coop"):
        some = [one for one in few_shot() if one.cell.method == name]
        own = [(one.cell.data, one.figures["classification"]["test"]["accuracy"]) for one in some]
        zero = {data: 0.5 + 0.05 * i for i, data in enumerate(SETS)}
        differences = [value - zero[data] for data, value in own if value != zero[data]]
        plain[name] = wilcoxon(differences).pvalue
    assert found["maple"].p == pytest.approx(min(1, 2 * plain["maple"]))
    assert found["coop"].p == pytest.approx(max(2 * plain["maple"], plain["coop"]))
    assert found["zeroshot"].p is None


def test_sets_where_zeroshot_guesses_are_left_out():
    error = math.sqrt(0.1 * 0.9 / 400)
    results = [*few_shot(), result("zeroshot", "noise", None, {"test": 0.1 + error})]
    results.append(result("maple", "noise", 1, {"test": 0.9}))
    (grid,) = grids(results)
    assert {column.of for _, column in chance_like(grid)} == {"noise"}
    assert {one.row.method: one.pairs for one in compared(grid)}["maple"] == 12
    assert any("left out of the test" in note for note in shown(grid).notes)


def test_what_cannot_be_compared_is_said():
    results = few_shot()
    results[3].figures["classification"]["test"]["pictures"] = 7
    (grid,) = grids(results)
    assert any("Not to be compared" in note and "dtd" in note and "cars" not in note for note in shown(grid).notes)


def test_published_rows_stand_beside_ours_and_differ_only_where_all_agree():
    def of(encoder, pictures):
        found = result(
            "maple", "eurosat", 1, {"base": 0.95, "novel": 0.70}, protocol="base-to-novel", shots=16, encoder=encoder
        )
        for part, count in zip(("base", "novel"), pictures, strict=True):
            found.figures["classification"][part]["pictures"] = count
        (grid,) = grids([found])
        table = shown(grid)
        nothing = any("Nothing is subtracted" in note for note in table.notes)
        assert nothing == ("maple, ours less published" not in dict(table.rows))
        return dict(table.rows)

    ours = of("ViT-B-16/openai", (4200, 3900))
    assert ours["maple, published"][:2] == ["94.07", "73.23"]
    assert ours["maple, ours less published"][:2] == ["+0.93", "\N{MINUS SIGN}3.23"]
    assert "maple, ours less published" not in of("toy", (4200, 3900))
    assert "maple, ours less published" not in of("ViT-B-16/openai", (10, 10))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data/eurosat/split_zhou_EuroSAT.json", "EuroSAT"), ("caltech101@data", "caltech101"), ("/a/pets/", "pets"),
        ("pacs:photo@there", "pacs:photo"), ("ViT-B-16/openai", "ViT-B-16/openai"),
    ],
)  # fmt: skip
def test_sets_are_called_shortly(source, name):
    assert label(source) == name


@pytest.mark.parametrize(
    ("source", "name"),
    [("data/pacs/photo", "photo"), ("/a/pets/", "pets"), ("pacs:photo@there", "pacs:photo"), ("hf:a/b", "hf:a/b")],
)
def test_folders_of_ones_own_are_called_by_their_end(source, name):
    assert set_label(source) == name


@pytest.mark.parametrize(("source", "own"), [("pacs:photo@there", "pacs:photo"), ("data/pacs/photo", "photo")])
def test_targets_beside_their_source(source, own):
    """A domain without its set's name; the source itself stands apart."""
    target = source.replace("photo", "sketch")
    (grid,) = grids([result("coop", source, 1, {"test": 0.9, target: 0.5}, protocol="single-source")])
    assert grid.columns == [Column(own, "→ photo"), Column(own, "→ sketch")]
    assert grid.means(Row("coop", "toy"))[Column("average", "targets")] == pytest.approx(0.5)


def test_folders_with_one_end_and_other_pictures_are_two_sets():
    """Else the figures of one would stand in the other's place."""
    found = [result("zeroshot", data, None, {"test": share}) for data, share in (("/a/x", 0.2), ("/b/x", 0.7))]
    (grid,) = grids(with_distinct_names(found))
    assert {column.of: figure.mean for (_, column), figure in grid.figures.items()} == {
        "x (pictures 1)": 0.2,
        "x (pictures 2)": 0.7,
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cells").mkdir()
    for one in few_shot():
        write_result(tmp_path / "cells" / f"{one.cell.name}.json", one)
    return tmp_path


def test_csv_has_every_figure_unrounded(folder, tmp_path):
    write_report(folder, tmp_path / "all.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert len(rows) == 28
    assert {float(row["value"]) for row in rows if row["method"] == "maple" and row["data"] == "cars"} == {
        0.66,
        0.67,
        0.68,
    }


def test_latex_has_booktabs_and_no_bare_signs(folder, tmp_path):
    write_report(folder, tmp_path / "all.tex")
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


def test_the_page_and_the_command(folder, capsys, typed, cd):
    cd(folder)
    typed("report", folder)
    assert main() == 0
    assert "| maple |" in capsys.readouterr().out
    (folder / "report.html").rename(folder / "page.html")
    for name in ("table.tex", "page.html"):  # the second one is there already, and replaced
        typed("report", folder, "--out", folder / name)
        assert main() == 0
        assert capsys.readouterr().out == f"Open {folder / name}\n"
    page = (folder / "page.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    for words in ("Against zero-shot", "most often taken for dog", "Confusion of maple", "maple less zero-shot"):
        assert words in page


def test_results_that_cannot_be_compared_are_no_seeds_of_one_row(tmp_path):
    """Of another figures version, other settings, other pictures."""
    (tmp_path / "cells").mkdir()

    def put(one):
        path = tmp_path / "cells" / f"{one.cell.name}.json"
        write_result(path, one)
        return path

    as_of_version(put(result("coop", "pets", 2, {"test": 0.2})), 0)
    put(result("coop", "pets", 1, {"test": 0.9}, epochs=5))
    put(result("coop", "pets", 1, {"test": 0.5}, epochs=50))
    other = result("maple", "pets", 1, {"test": 0.7})
    put(replace(other, cell=replace(other.cell, inputs={"data": "others"})))
    found = with_distinct_names(cells.results_in(tmp_path))
    assert {one.cell.method for one in found} == {"coop (settings 1)", "coop (settings 2)", "maple"}
    assert len({one.cell.data for one in found}) == 2
    text = write_report(tmp_path, tmp_path / "out.md")
    assert all(shown in text for shown in ("90.00", "50.00", "70.00"))
    assert "20.00" not in text


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


def test_a_folder_that_is_no_grid(tmp_path):
    with pytest.raises(FileError, match="not the folder of a grid"):
        write_report(tmp_path, tmp_path / "page.html")
