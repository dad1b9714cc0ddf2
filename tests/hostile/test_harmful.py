"""Files made to harm, all of them: none runs, none reaches out, each is read or is one line."""

import os

import pytest
from harmful import Harmful, Opened, count_harmful, harmful

from polyprompt.errors import PolypromptError


def test_none_runs(tmp_path):
    found = count_harmful(harmful(tmp_path), tmp_path)
    assert sum(row.files for row in found.values()) > 1_000
    bad = {kind: row for kind, row in found.items() if row.otherwise or row.ran}
    assert not bad
    assert all(row.refused for row in found.values())


@pytest.mark.outside("process")
def test_what_runs_or_ends_otherwise_is_counted(tmp_path):
    def two_lines():
        raise PolypromptError("two\nlines")

    def leave_a_mark():
        (tmp_path / "RAN").write_text("")

    ways = {"starts": lambda: os.system("true"), "two": two_lines, "fails": lambda: {}["x"], "mark": leave_a_mark}
    found = count_harmful([Harmful(kind, opens) for kind, opens in ways.items()], tmp_path)
    assert found == {
        "starts": Opened(1, read=1, ran=1),
        "two": Opened(1, otherwise=1),
        "fails": Opened(1, otherwise=1),
        "mark": Opened(1, read=1, ran=1),
    }
