"""A grid's tables in every format."""

import csv
import io
import itertools
import json
import re
from dataclasses import replace
from html import escape

import pytest
import torch
from toy_grid import few_shot, result

from polyprompt.errors import FileError
from polyprompt.evaluate.retrieval import middle, shares
from polyprompt.report.averages import grids, retrieval_column
from polyprompt.report.grid import guessed_retrieval, markdown, ranking, shown
from polyprompt.report.grid_page import write_report
from polyprompt.runs.cells import write_result


def test_what_cannot_be_compared_is_said():
    results = few_shot()
    results[3].figures["classification"]["test"]["pictures"] = 7
    (grid,) = grids(results)
    assert any("Not to be compared" in note and "dtd" in note and "cars" not in note for note in shown(grid).notes)


def test_means_of_fewer_seeds_are_named():
    """A row of one seed beside rows of three, and a set on which one failed."""
    results = [one for one in few_shot() if (one.cell.method, one.cell.data, one.cell.seed) != ("coop", "dtd", 2)]
    assert not any("fewer seeds" in note for note in shown(grids(few_shot())[0]).notes)
    (grid,) = grids([*results, result("kgcoop", "pets", 1, {"test": 0.5})])
    assert (
        "Means of fewer seeds than 1, 2, 3, not to be set beside others: coop on dtd (1, 3); kgcoop (1)."
        in shown(grid).notes
    )


def test_what_failed_is_told_in_every_report(grid_folder, tmp_path):
    """A table with a gap does not say why; of a cell that has a result since, nothing is told."""
    done = next((grid_folder / "cells").iterdir()).stem
    (grid_folder / "failures").mkdir()
    for name, title in (("0" * 32, "coop on toy, pets, 4 shots, seed 4"), (done, "it was done since")):
        (grid_folder / "failures" / f"{name}.json").write_text(json.dumps({"cell": title, "error": "a loss is nan"}))
    for ending in ("md", "tex", "html"):
        write_report(grid_folder, tmp_path / f"all.{ending}")
        text = (tmp_path / f"all.{ending}").read_text()
        assert text.count("Failed, without a result: ") == 1
        assert "Failed, without a result: coop on toy, pets, 4 shots, seed 4: a loss is nan" in text


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
    assert r"maple & 77.00 $\pm$ 1.00 & 67.00 $\pm$ 1.00" in text
    assert "±" not in text.replace(text.splitlines()[0], "")


NAMES = ["*a_b*", "[100%]", "R&D", "#1", "~x", "a^b", "c:\\d", '<b>&"', "µ→é", "$x$", "{y}", "a|b"]


@pytest.fixture
def odd_folder(tmp_path):
    """Methods and sets whose names mean something in each format."""
    (tmp_path / "cells").mkdir()
    for method, data in [*((name, NAMES[0]) for name in NAMES), *((NAMES[0], name) for name in NAMES)]:
        one = result(method, data, 1, {"test": 0.5})
        write_result(tmp_path / "cells" / f"{one.cell.name}.json", one)
    return tmp_path


def test_latex_prints_names_as_they_are(odd_folder, tmp_path):
    write_report(odd_folder, tmp_path / "all.tex")
    rows = (tmp_path / "all.tex").read_text().splitlines()
    text = "\n".join(rows[1:])
    for plain in (r"R\&D", r"\#1", r"\textasciitilde{}x", r"a\textasciicircum{}b", r"c:\textbackslash{}d", r"\{y\}"):
        assert plain in text
    assert r"\textless{}b\textgreater{}\&" in text
    assert not re.search(r"(?<!\\)[%#~^]|[<>|]", text)
    assert not any(row.startswith(("*", "[")) for row in rows)  # of the row before, these are arguments
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows if row.endswith(r"\\")} == {len(NAMES) + 2}


def test_markdown_prints_names_as_they_are(odd_folder):
    text = write_report(odd_folder, odd_folder / "all.md")
    for plain in (r"\*a_b\*", r"\[100%\]", r"\<b\>&", r"a\|b", r"c:\\d", "~x"):
        assert f"| {plain}" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {len(NAMES) + 4, 6}


def test_the_page_prints_names_as_they_are(odd_folder, tmp_path):
    write_report(odd_folder, tmp_path / "all.html")
    page = (tmp_path / "all.html").read_text()
    assert all(escape(name) in page for name in NAMES)
    assert "<b>" not in page


@pytest.mark.parametrize("name", ["all.pdf", "all.txt", "all.json"])
def test_a_form_that_there_is_not(grid_folder, tmp_path, name):
    with pytest.raises(FileError, match=r"is written as \.html, \.htm, \.md, \.csv, \.tex"):
        write_report(grid_folder, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_an_ending_in_capitals_is_the_same_form(grid_folder, tmp_path):
    write_report(grid_folder, tmp_path / "all.TEX")
    assert r"\toprule" in (tmp_path / "all.TEX").read_text()


def test_averages_have_a_chance_too():
    (grid,) = grids(few_shot())
    assert shown(grid).rows[0] == ("chance", ["10.00"] * 5)


@pytest.mark.parametrize("each", [1, 2])
def test_chance_in_retrieval_is_that_of_answers_in_random_order(each):
    """Every order of six captions, counted."""
    images, captions = 6 // each, 6
    ways = {"text_to_image": images, "image_to_text": captions, "image_to_text_grouped": images}
    keys = ("recall@1", "recall@5", "recall@10", "median_rank", "mean_rank")
    retrieval = {way: dict.fromkeys(keys, 0.5) for way in ways}
    one = result("as it is", "flickr", None, {}, protocol="retrieval")
    figures = {"retrieval": retrieval, "images": images, "captions": captions}
    found = guessed_retrieval(replace(one, figures=figures))
    for way, answers in ways.items():
        right = range(each if way == "image_to_text" else 1)
        places = torch.tensor(
            [1 + min(order.index(one) for one in right) for order in itertools.permutations(range(answers))]
        )
        expected = shares(places) | middle(places)
        assert {key: found[retrieval_column("flickr", way, key)] for key in keys} == pytest.approx(expected)
    (grid,) = grids([replace(one, figures=figures, cell=replace(one.cell, task="retrieve"))])
    assert shown(grid).rows[0][0] == "chance"
    assert shown(grid).compared == []


def test_markdown_rows_have_as_many_cells_as_the_header():
    results = few_shot()
    tables = [shown(grid) for grid in grids(results)]
    lines = [line for line in markdown(tables, results).splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in lines if "accuracy" in line or "zeroshot |" in line} <= {7, 5}
    assert dict(ranking(tables[0]))["maple"][1] == "12 of 12"
