"""methods: what there is, and what can be set."""

import re

from polyprompt import methods
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
    assert re.fullmatch(r"0\.\d\d at \d+ classes", cells[8])
    taskres = re.split(r"  +", next(row for row in rows if row.startswith("taskres ")))
    assert taskres[2:9] == ["residuals", "51,200", "yes", "-", "-", "-", "-"]
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
