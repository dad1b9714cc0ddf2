"""methods: what there is, and what can be set."""

import json
import re
from pathlib import Path

from polyprompt import methods
from polyprompt.cli.methods import HEAD, method_rows
from polyprompt.settings import settings_of


def test_every_method_is_listed_with_its_paper(polyprompt):
    code, out, err = polyprompt("methods")
    assert code == 0, err
    head, *rows = out.splitlines()
    assert head.split()[:2] == ["method", "paper"]
    assert {row.split()[0] for row in rows} == set(methods.names())
    maple = next(row for row in rows if row.startswith("maple "))
    assert "Khattak et al. 2023, arXiv:2210.03117" in maple
    assert maple.endswith("MaPLe: text prompts, and image prompts that are linear images of them")
    cells = re.split(r"  +", maple)
    assert cells[2:8] == ["text, couplings", "3,555,072", "yes", "82.28", "75.14", "78.55"]  # 3.55 million in the paper
    assert float(cells[8]) > 1  # it learns images of prompts, CoOp none
    taskres = re.split(r"  +", next(row for row in rows if row.startswith("taskres ")))
    assert taskres[2:8] == ["residuals", "51,200", "yes", "-", "-", "-"]
    zeroshot = re.split(r"  +", next(row for row in rows if row.startswith("zeroshot ")))
    assert zeroshot[2:8] == ["-", "0", "no", "69.34", "74.22", "71.70"]
    for row in rows:  # published averages follow from each other
        base, novel, both = re.split(r"  +", row)[5:8]
        if row.startswith("bmip "):  # whose table has another one, as its record notes
            assert both == "79.04"
            continue
        assert both == "-" or abs(2 / (1 / float(base) + 1 / float(novel)) - float(both)) < 0.02


def test_a_methods_settings_are_shown_as_set_takes_them(polyprompt):
    for name in methods.names():
        code, out, err = polyprompt("methods", name)
        assert code == 0, err
        for setting in settings_of(methods.config_of(name)):
            row = next(line for line in out.splitlines() if line.startswith(f"method.{setting.name} "))
            assert row.endswith(setting.doc)
            if isinstance(setting.default, (int, float)) and not isinstance(setting.default, bool):
                assert str(setting.default) in row
    code, _, err = polyprompt("methods", "mapel")
    assert (code, "Did you mean 'maple'" in err) == (2, True)


def test_what_a_step_costs_is_what_was_measured():
    """The package has a copy, as benchmarks are not installed; all that learns by steps is in it, and nothing else."""
    shipped = Path(methods.__file__).with_name("steps.json").read_bytes()
    assert shipped == (Path(__file__).parents[2] / "benchmarks" / "results" / "steps.json").read_bytes()
    measured = {row["method"]: f"{row['beside CoOp']:g}" for row in json.loads(shipped)["found"]}
    rows = [dict(zip(HEAD, row, strict=True)) for row in method_rows()[1:]]
    assert {row["method"]: row["step"] for row in rows if row["step"] != "-"} == measured
    assert {row["method"] for row in rows if row["trained"] == "yes"} == measured.keys()
