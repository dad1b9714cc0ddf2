"""Each kind of breakage is made, one at a time, and the tests of a file notice one that matters."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mutating import AREAS, ROOT, SOURCE, drawn, mutants

TEXT = '''
"""A docstring with 1 number."""
LIMIT = 3

def f(x: "b 2", y=1.5) -> "c 3":
    """Another 4."""
    check(x)
    if y is x:
        return None
    if x < LIMIT and not y:
        raise ValueError("5 is not allowed")
    x += 1
    return x + y
'''


def test_every_kind_of_change_is_made_and_nothing_else():
    found = list(mutants("f.py", TEXT))
    said = {(one.kind, one.before, one.after) for one in found}
    assert said == {
        ("constant", "3", "4"),
        ("constant", "1.5", "2.5"),
        ("constant", "1", "2"),
        ("dropped", "check(x)", "pass"),
        ("condition", "if y is x:...", "if not y is x:..."),
        ("comparison", "y is x", "y is not x"),
        ("dropped", "raise ValueError('5 is not allowed')", "pass"),
        ("dropped", "x += 1", "pass"),
        ("condition", "if x < LIMIT and (not y):...", "if not (x < LIMIT and (not y)):..."),
        ("operator", "x < LIMIT and (not y)", "x < LIMIT or not y"),
        ("operator", "not y", "y"),
        ("operator", "x + y", "x - y"),
        ("comparison", "x < LIMIT", "x <= LIMIT"),
        ("return", "return x + y", "return None"),
    }
    assert len({one.text for one in found}) == len(found) == 14
    for one in found:
        lines = zip(ast.unparse(ast.parse(TEXT)).splitlines(), one.text.splitlines(), strict=True)
        assert sum(before != after for before, after in lines) == 1


def test_the_same_are_drawn_again():
    assert drawn("losses", 5) == drawn("losses", 5)
    assert all((SOURCE / file).is_file() for files in AREAS.values() for file in files)
    assert all(
        (ROOT / "tests" / test).is_file() for files in AREAS.values() for tests in files.values() for test in tests
    )


PROGRAM = """
from mutating import SOURCE, mutants, noticed

text, tests = (SOURCE / "nn/prompts.py").read_text(), ["nn/test_prompts.py"]
assert not noticed(None, tests, 300)
(broken, *_) = [one for one in mutants("nn/prompts.py", text) if one.kind == "return"]
assert noticed(broken, tests, 300)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_breakage_that_matters_is_noticed_and_the_whole_file_is_not():
    """In a process of its own, as one in which autograd was at work cannot be forked."""
    folders = [str(Path(__file__).parent), str(ROOT / "tests")]
    path = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", PROGRAM], env=os.environ | {"PYTHONPATH": path}, check=True)
