import statistics

import pytest

from polyprompt.errors import FileError
from polyprompt.report.runs import group, read_run
from polyprompt.report.tables import markdown, tables, write_table
from polyprompt.report.words import printed


def table_of(folders):
    (table,) = tables(group([read_run(folder) for folder in folders]))
    return table


def column(table, of, name):
    (index,) = [i for i, column in enumerate(table.columns) if (column.of, column.name) == (of, name)]
    return [cells[index] for _, cells in table.rows]


def runs(make_run, name, recalls):
    return [make_run(name, seed, t2i=t2i, i2t=0.5) for seed, t2i in enumerate(recalls)]


def test_figures_are_means_and_standard_deviations_over_seeds(make_run):
    recalls = [0.201, 0.223, 0.242]
    table = table_of(runs(make_run, "k6", recalls))
    (cell,) = column(table, "text → image", "R@1")
    assert cell.text == f"{100 * statistics.mean(recalls):.1f} ± {100 * statistics.stdev(recalls):.1f}"
    assert [column.of for column in table.columns] == ["text → image"] * 3 + ["image → text"] * 3 + ["aspects"] * 2
    assert table.header == [("text → image", 3), ("image → text", 3), ("aspects", 2)]
    assert column(table, "aspects", "redundancy")[0].text == "0.50 ± 0.00"
    assert table.seeds == [[0, 1, 2]]


def best(make_run, **experiments):
    folders = [folder for name, recalls in experiments.items() for folder in runs(make_run, name, recalls)]
    return [cell.best for cell in column(table_of(folders), "text → image", "R@1")]


def test_a_clear_lead_is_bold(make_run):
    assert best(make_run, a=[0.30, 0.31], b=[0.20, 0.21], c=[0.22, 0.23]) == [True, False, False]


def test_what_cannot_be_told_from_the_best_is_bold_with_it(make_run):
    # a: 31 ± 1.41, b: 29 ± 1.41, so 2 points apart, less than 2.83; c is far below.
    assert best(make_run, a=[0.30, 0.32], b=[0.28, 0.30], c=[0.10, 0.12]) == [True, True, False]


def test_nothing_is_bold_if_all_are_close(make_run):
    assert best(make_run, a=[0.30, 0.32], b=[0.28, 0.30]) == [False, False]


def test_nothing_is_bold_with_one_seed_and_the_error_of_the_items_is_told(make_run):
    folders = runs(make_run, "a", [0.30, 0.31]) + runs(make_run, "b", [0.10])
    table = table_of(folders)
    assert not any(cell.best for _, cells in table.rows for cell in cells)
    # The worst figure is 0.5 of 400 images: 100 * sqrt(0.25 / 400) = 2.5.
    assert any("no figure is called best" in note and "up to 2.5" in note for note in table.notes)


def test_markdown_has_a_row_of_as_many_cells_for_every_line(make_run):
    text = write_table(runs(make_run, "a_b|c", [0.3, 0.4]) + runs(make_run, "one", [0.1, 0.2]))
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 2  # the table, and how it came about
    for block in blocks:
        bars = {line.replace(r"\|", "").count("|") for line in block}
        assert len(bars) == 1
    figures, how = blocks
    assert figures[2].startswith(r"| a\_b\|c | **35.0 ± 7.1** | **70.0 ± 14.1** |")
    assert figures[2].endswith("| 0, 1 |")
    assert len(how) == 2 + 4
    for expected in (r"`polyprompt align 'toy\|set' --seed 1`", "two slow cores", "2026-01-31", "12 min 34 s"):
        assert expected in how[3]


def test_bold_in_markdown(make_run):
    text = markdown(table_of(runs(make_run, "a", [0.30, 0.31]) + runs(make_run, "b", [0.20, 0.21])))
    assert "**30.5 ± 0.7**" in text
    assert "Bold: the best" in text


def test_classification_is_one_table_of_all_sets(make_adapt_run):
    cats = [0.50, 0.75, 0.90]
    folders = [make_adapt_run("maple", seed, base=(share, 0.5), novel=(0.25, 0.5)) for seed, share in enumerate(cats)]
    table = table_of([*folders, make_adapt_run("coop", 0, base=(0.1, 0.1)), make_adapt_run("coop", 1, base=(0.1, 0.1))])
    accuracies = [50 * (share + 0.5) for share in cats]
    ours, theirs = column(table, "base", "accuracy")
    assert ours.text == f"{statistics.mean(accuracies):.1f} ± {statistics.stdev(accuracies):.1f}"
    assert ours.values == pytest.approx(accuracies)
    assert ours.best
    assert not theirs.best
    assert column(table, "base", "calibration error")[0].text == "0.125 ± 0.000"
    assert [cell.text for cell in column(table, "base and novel", "harmonic mean")] == ["50.0 ± 0.0", printed(None, "")]
    assert table.header == [("base", 3), ("novel", 3), ("base and novel", 1)]


def test_a_run_without_results_is_in_no_table(make_run):
    folders = [make_run("a", finished=False), *runs(make_run, "b", [0.2])]
    assert [name for name, _ in table_of(folders).rows] == ["b-seed0"]


def test_a_missing_run_is_refused(tmp_path):
    with pytest.raises(FileError, match="no such run folder"):
        write_table([tmp_path / "gone"])


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [(0.1, "+.1f", "+0.1"), (-0.1, "+.1f", "−0.1"), (-0.01, "+.1f", "+0.0"), (-0.01, ".1f", "0.0"), (None, "", "–")],  # noqa: RUF001
)
def test_numbers_are_printed_with_true_signs_and_no_minus_nought(value, form, text):
    assert printed(value, form) == text
