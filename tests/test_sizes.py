"""The house stays small in the small: no long function, no long signature, no more places without a type."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "polyprompt"
LINES, PARAMETERS, ANY = 60, 8, 60
ESTIMATORS = {"skins/sklearn.py"}
"""As scikit-learn has them, all settings are parameters; so are a command's options."""


def functions():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield pytest.param(name, node, id=f"{name}:{node.name}")


def too_large(name, node):
    """What is too large about a function."""
    taken = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
    count = len([one for one in taken if one.arg not in ("self", "cls")])
    free = name.startswith("cli/") or name in ESTIMATORS
    first = node.body[0].lineno if free else node.lineno  # options and their help are no code
    if (lines := node.end_lineno - first + 1) > LINES:
        yield f"{name}: {node.name} has {lines} lines"
    if count > PARAMETERS and not free:
        yield f"{name}: {node.name} has {count} parameters"


def test_functions_are_short_and_take_little():
    found = [message for one in functions() for message in too_large(*one.values)]
    assert not found, "\n".join(found)


def test_what_has_no_type_is_rare():
    text = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    lines = [line for line in text.splitlines() if re.search(r"\bAny\b", line)]
    assert len(lines) < ANY


def test_the_check_sees_what_is_too_large():
    body = "\n".join(["    pass"] * LINES)
    (node,) = ast.parse(f"def f(a, b, c, d, e, f, g, h, i):\n{body}").body
    assert len(list(too_large("nn/a.py", node))) == 2
    assert not list(too_large("cli/a.py", node))
