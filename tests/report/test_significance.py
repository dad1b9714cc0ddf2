"""Ranks and tests against scipy."""

import math

import pytest
from scipy.stats import wilcoxon
from toy_grid import SETS, few_shot, result

from polyprompt.report.averages import grids
from polyprompt.report.grid import shown
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
