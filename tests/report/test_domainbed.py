"""DomainBed's choice among settings, against its program repeated step by step on its own kind of records."""

import random

from polyprompt.report.averages import Column, Row, grids
from polyprompt.report.domainbed import CHOSEN
from polyprompt.runs.cells import Cell, Result

TARGETS, SEEDS, RATES, EPOCHS = (0, 1, 2, 3), (0, 1, 2), (0.1, 0.2, 0.4), (1, 2, 3)


def records(draw):
    """One a target, trial, hyper-parameters and checkpoint, as its results.jsonl has them; shares of 20 collide."""
    return [
        {"args": {"test_envs": [target], "trial_seed": seed, "hparams_seed": number}, "step": epoch}
        | {f"env{env}_{part}_acc": draw.randrange(20) / 20 for env in TARGETS for part in ("in", "out")}
        for target in TARGETS
        for seed in SEEDS
        for number in range(len(RATES))
        for epoch in EPOCHS
    ]


def slow(found, target, seed):
    """The training-domain validation set: the best step of each run, then the best run, the last of equal ones."""
    runs = []
    for number in range(len(RATES)):
        best = None
        for one in found:
            if one["args"] == {"test_envs": [target], "trial_seed": seed, "hparams_seed": number}:
                outs = [one[f"env{env}_out_acc"] for env in TARGETS if env != target]
                choice = (sum(outs) / len(outs), one[f"env{target}_in_acc"])
                if best is None or choice[0] > best[0]:
                    best = choice
        runs.append(best)
    return sorted(runs, key=lambda run: run[0])[::-1][0][1]


def kept(found):
    """The results that `adapt` leaves of the same: of each run its best epoch."""
    for target in TARGETS:
        for seed in SEEDS:
            for number, rate in enumerate(RATES):
                args = {"test_envs": [target], "trial_seed": seed, "hparams_seed": number}
                some = [one for one in found if one["args"] == args]
                outs = [sum(one[f"env{e}_out_acc"] for e in TARGETS if e != target) / 3 for one in some]
                best = outs.index(max(outs))
                cell = Cell(
                    protocol="domainbed", task="classify", method=f"coop {rate}", encoder="toy", data=f"not {target}",
                    seed=seed, settings={"method": {"name": "coop"}, "rate": rate, "test": f"target {target}"},
                )  # fmt: skip
                scores = {"accuracy": some[best][f"env{target}_in_acc"], "pictures": 100, "classes": 7}
                figures = {"classification": {"test": scores}, "selected": {"on": "val", "accuracy": outs[best]}}
                yield Result(cell, figures, 1.0, "a machine", "2026-11-01")


def test_the_runs_that_sources_prefer_are_those_that_domainbed_takes():
    found = records(random.Random(0))
    (grid,) = grids(list(kept(found)))
    row = Row(CHOSEN.format("coop"), "toy")
    for target in TARGETS:
        figure = grid.figures[row, Column(f"target {target}", "accuracy")]
        assert figure.by_seed == {seed: slow(found, target, seed) for seed in SEEDS}
    assert len(grid.rows) == len(RATES) + 1


def test_one_setting_leaves_nothing_to_choose():
    one = [result for result in kept(records(random.Random(1))) if result.cell.settings["rate"] == RATES[0]]
    (grid,) = grids(one)
    assert [row.method for row in grid.rows] == [f"coop {RATES[0]}"]
