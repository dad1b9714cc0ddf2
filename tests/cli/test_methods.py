"""methods: what there is, and what can be set."""

from polyprompt import methods
from polyprompt.settings import settings_of


def test_every_method_is_listed_with_its_paper(polyprompt):
    code, out, err = polyprompt("methods")
    assert code == 0, err
    head, *rows = out.splitlines()
    assert head.split() == ["method", "paper", "what", "it", "is"]
    assert {row.split()[0] for row in rows} == set(methods.names())
    maple = next(row for row in rows if row.startswith("maple "))
    assert "Khattak et al. 2023, arXiv:2210.03117" in maple
    assert maple.endswith("MaPLe: text prompts, and image prompts that are linear images of them")


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
