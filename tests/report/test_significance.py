"""Ranks and tests against scipy."""

import math
import re
from dataclasses import replace

import pytest
from scipy.stats import wilcoxon
from toy_grid import SETS, few_shot, result

from polyprompt.report.averages import grids
from polyprompt.report.grid import ranking, shown
from polyprompt.report.grid_plots import against_zero_shot, mean_and_spread
from polyprompt.report.significance import chance_like, compared


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


def test_a_half_where_zeroshot_guesses_is_named():
    (grid,) = grids([result("zeroshot", "pets", None, {"base": 0.9, "novel": 0.1}, protocol="base-to-novel")])
    assert "Zero-shot lies within two errors of chance on pets novel: left out of the test." in shown(grid).notes


def test_ranks_are_over_what_all_have():
    """Whoever was tried on one set alone has no better rank for it."""
    results = [one for one in few_shot() if one.cell.method != "coop" or one.cell.data == "pets"]
    results += [result("kgcoop", "pets", 1, {"test": 0.55})]
    (grid,) = grids(results)
    ranks = {one.row.method: one.rank for one in compared(grid)}
    assert ranks == {"maple": 1.0, "kgcoop": 2.0, "zeroshot": 3.5, "coop": 3.5}
    (apart,) = grids([result("kgcoop", "cars", 1, {"test": 0.55}), result("zeroshot", "pets", None, {"test": 0.55})])
    assert [cells[0] for _, cells in ranking(shown(apart))[1:]] == ["\N{EN DASH}"] * 2


def test_equal_means_of_other_numbers_of_seeds_share_a_rank():
    """The mean of 7/18 and 5/18 is not 1/3 in its last bit."""
    found = [result("zeroshot", "pets", None, {"test": 1 / 3})]
    found += [result("coop", "pets", seed, {"test": share}) for seed, share in ((1, 7 / 18), (2, 5 / 18))]
    (grid,) = grids(found)
    assert {one.rank for one in compared(grid)} == {1.5}
    drawn = against_zero_shot(grid, grid.rows[1], 1)
    assert "1e" not in re.sub(r"<path[^>]*>|id=\S+", "", drawn)


def test_zero_shot_with_another_seed_is_no_pair():
    """Where it has seeds they decide which pictures are scored."""
    found = [replace(one, cell=replace(one.cell, method="zeroshot", seed=1)) for one in few_shot()[:4]]
    (grid,) = grids([*found, *few_shot()[4:]])
    assert {one.row.method: one.pairs for one in compared(grid)}["maple"] == 4


@pytest.mark.parametrize("protocol", ["single-source", "cross-dataset"])
def test_what_was_trained_on_is_no_win_of_transfer(protocol):
    """A method that only learns its source by heart is not better than zero-shot, nor first, nor above it in curves."""
    found = []
    for shots in (1, 4):
        for seed in range(1, 9):
            own = {"test": 0.9, "b": 0.40 + 0.001 * seed}
            found.append(result("coop", "a", seed, own, protocol=protocol, shots=shots))
    found.append(result("zeroshot", "a", None, {"test": 0.2, "b": 0.5}, protocol=protocol))
    few, many = grids(found)
    for grid in (few, many):
        first, second = compared(grid)
        assert (first.row.method, first.rank) == ("zeroshot", 1.0)
        assert (second.better, second.pairs) == (0, 8)
        assert second.p == pytest.approx(wilcoxon([0.001 * seed - 0.1 for seed in range(1, 9)]).pvalue)
        assert mean_and_spread(grid, second.row)[0] == pytest.approx(100 * 0.4045)
        assert "Averages, ranks and the test are over targets; what was trained on stands apart." in shown(grid).notes


def test_of_several_encoders_the_one_whose_zero_shot_guesses_is_named():
    found = [
        result("zeroshot", "pets", None, {"test": share}, encoder=encoder)
        for encoder, share in (("a", 0.1), ("b", 0.9))
    ]
    (grid,) = grids(found)
    assert "Zero-shot lies within two errors of chance on pets with a: left out of the test." in shown(grid).notes
