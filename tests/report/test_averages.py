"""Averages as papers take them, and what rows and sets are called."""

import json
from pathlib import Path
from statistics import mean, stdev

import pytest
from toy_grid import MADE, few_shot, result

from polyprompt import report
from polyprompt.report.averages import Column, Row, grids, label, set_label
from polyprompt.report.grid import shown
from polyprompt.runs.cells import Cell, Result


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


def test_an_accuracy_of_0_counts():
    sets = (("pets", {"base": 0.5, "novel": 0.0}), ("cars", {"base": 0.9, "novel": 0.6}))
    (grid,) = grids([result("coop", name, 1, halves, protocol="base-to-novel", shots=16) for name, halves in sets])
    means = grid.means(Row("coop", "toy"))
    averages = {column.name: value for column, value in means.items() if column.of == "average"}
    expected = {"base": 0.7, "novel": 0.3, "hm of averages": 0.42, "average of hms": 0.36}
    assert averages == pytest.approx(expected)


def test_seeds_first_then_sets_and_no_mean_with_a_gap():
    results = few_shot()
    (grid,) = grids(results)
    average = Column("average", "mean")
    expected = mean(mean(0.6 + 0.05 * i + 0.01 * seed for seed in (1, 2, 3)) for i in range(4))
    assert grid.means(Row("maple", "toy"))[average] == pytest.approx(expected)
    (gap,) = grids([one for one in results if (one.cell.method, one.cell.data) != ("maple", "dtd")])
    assert average not in gap.means(Row("maple", "toy"))
    assert average in gap.means(Row("coop", "toy"))


def test_averages_deviate_as_each_seeds_own_average():
    results = few_shot()
    (grid,) = grids(results)
    row, average = Row("maple", "toy"), Column("average", "mean")
    own = {seed: [one for one in results if (one.cell.method, one.cell.seed) == ("maple", seed)] for seed in (1, 2, 3)}
    means = [mean(one.figures["classification"]["test"]["accuracy"] for one in some) for some in own.values()]
    assert grid.spreads(row)[average] == pytest.approx(stdev(means))
    assert grid.spreads(row)[grid.columns[0]] == grid.figures[row, grid.columns[0]].spread
    (gap,) = grids([one for one in results if one is not own[2][0]])  # a cell failed
    assert gap.spreads(row) == {c: figure.spread for (who, c), figure in gap.figures.items() if who == row}


@pytest.mark.parametrize("protocol", ["base-to-novel", "few-shot", "cross-dataset", "single-source", "sts"])
def test_one_set_has_no_average(protocol):
    figures = {"base": 0.5, "novel": 0.4} if protocol == "base-to-novel" else {"test": 0.5}
    figures |= {"cars": 0.3} if protocol in ("cross-dataset", "single-source") else {}
    one, other = (result("coop", name, 1, figures, protocol=protocol) for name in ("pets", "dtd"))
    assert "average" not in {column.of for column in shown(grids([one])[0]).columns}
    if protocol != "cross-dataset":
        assert "average" in {column.of for column in shown(grids([one, other])[0]).columns}


def test_the_source_stands_apart_from_the_targets():
    values = {"test": 0.9, "cars": 0.5, "dtd": 0.3}
    (grid,) = grids([result("maple", "pets", 1, values, protocol="cross-dataset", shots=16)])
    assert grid.columns == [Column("pets", "accuracy"), Column("cars", "accuracy"), Column("dtd", "accuracy")]
    assert grid.means(Row("maple", "toy"))[Column("average", "targets")] == pytest.approx(0.4)


@pytest.mark.parametrize("root", ["", "/a/"])
def test_targets_that_are_called_alike_have_their_folders(root):
    """They overwrote each other."""
    values = {"test": 0.9, f"{root}x/pets": 0.5, f"{root}y/pets": 0.3}
    (grid,) = grids([result("coop", "a", 1, values, protocol="cross-dataset")])
    assert [column.of for column in grid.columns] == ["a", "x/pets", "y/pets"]
    values = {"test": 0.9, f"{root}y/pets": 0.5, "a": 0.3}
    (grid,) = grids([result("coop", f"{root}x/pets", 1, values, protocol="single-source")])
    assert [column.name for column in grid.columns] == ["→ pets", "→ y/pets", "→ a"]
    assert grid.means(Row("coop", "toy"))[Column("average", "targets")] == pytest.approx(0.4)


def test_each_source_has_a_table_of_its_own():
    """Their targets are called the same."""
    found = [
        result("maple", "pets", 1, {"test": 0.9, "cars": 0.5}, protocol="cross-dataset", shots=16),
        result("maple", "cars", 1, {"test": 0.8, "pets": 0.3}, protocol="cross-dataset", shots=16),
    ]
    both = {grid.source: grid for grid in grids(found)}
    targets = {of: grid.means(Row("maple", "toy"))[Column("average", "targets")] for of, grid in both.items()}
    assert targets == {"pets": 0.5, "cars": 0.3}
    assert [shown(grid).title for grid in both.values()] == [f"cross-dataset from {of}, 16 shots" for of in both]


def test_a_figure_of_nothing_right_is_a_figure():
    halves = {"base": 0.0, "novel": 0.5}
    (grid,) = grids([result("maple", "pets", 1, halves, protocol="base-to-novel", shots=16)])
    averages = {column.name: value for column, value in grid.means(Row("maple", "toy")).items()}
    assert averages == halves | {"HM": 0.0, "hm of averages": 0.0, "average of hms": 0.0}


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


def test_sets_stand_as_published_tables_have_them_and_others_behind():
    sets = ["sickr", "my own", "stsb", "STS12@elsewhere", "sts16", "b"]
    cells = [Cell(protocol="sts", task="compare", method="as it is", encoder="toy", data=data) for data in sets]
    (grid,) = grids([Result(cell, {"spearman": 0.5}, 1.0, **MADE) for cell in cells])
    assert [column.of for column in grid.columns] == ["STS12", "sts16", "stsb", "sickr", "b", "my own"]


def test_a_protocol_of_another_version_is_shown():
    (grid,) = grids([result("coop", "pets", 1, {"test": 0.5}, protocol="few-shot-2")])
    assert len(grid.columns) == 1


@pytest.mark.parametrize("protocol", ["leave-one-domain-out", "domainbed"])
def test_left_out_domains_stand_in_the_order_of_their_names(protocol):
    """They are scored by whoever was trained on all others, whose names run the other way."""
    domains = "art_painting", "cartoon", "photo", "sketch"
    found = []
    for target in domains:
        others = "+".join(one for one in domains if one != target)
        found.append(result("coop", f"pacs:{others}", 1, {"test": 0.5}, protocol=protocol, test=f"pacs:{target}"))
    (grid,) = grids(found)
    assert [column.of for column in grid.columns] == [f"pacs:{domain}" for domain in domains]


def test_base_and_novel_of_each_set_have_their_harmonic_mean_behind_them():
    """Of the means over seeds, as papers take it; of MaPLe's row on EuroSAT, whose published HM is 82.35."""
    halves = [(1, {"base": 0.93, "novel": 0.70}), (2, {"base": 0.9514, "novel": 0.7646})]
    results = [result("maple", data, seed, parts, protocol="base-to-novel") for data in "ab" for seed, parts in halves]
    (grid,) = grids(results)
    table = shown(grid)
    assert [column.name for column in table.columns[:6]] == ["base", "novel", "HM"] * 2
    _, cells = table.rows[-1]
    assert cells[2] == cells[5] == f"82.35 ± {100 * stdev(2 / (1 / a['base'] + 1 / a['novel']) for _, a in halves):.2f}"
