"""The tree of errors is the one drawn at its top, and no error for users stands elsewhere."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from polyprompt import errors

PACKAGE = Path(errors.__file__).parent


def drawn() -> dict[str, str]:
    """Each name in the drawing with the one it stands under."""
    found, above = {}, {-1: "Exception"}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([│├└─ ]*)(\w+Error) {2,}\w", line):
            depth = len(match[1]) // 4
            found[match[2]], above[depth] = above[depth - 1], match[2]
    return found


def test_the_drawing_is_the_tree():
    real = {name: kind.__bases__[0].__name__ for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert drawn() == {name: base for name, base in real.items() if name.endswith("Error")}


@pytest.mark.parametrize(("said", "meant"), [("CoOp", "coop"), ("MaPLe", "maple"), ("EUROSAT", "EuroSAT")])
def test_near_names_are_found_in_upper_and_lower_case(said, meant):
    known = ["coop", "maple", "EuroSAT", "tip_adapter"]
    assert f"Did you mean {meant!r}" in str(errors.UnknownNameError("method", said, known))


def test_errors_for_users_stand_in_one_file():
    """Elsewhere only signals within a module: no one catches them by the tree."""
    elsewhere = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for path in PACKAGE.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Exception"))
    }
    assert all(bases == ["Exception"] for bases in elsewhere.values())
    assert {name for name in elsewhere if not name.startswith("_")} == {"DamagedPieceError"}


def test_scikit_learn_may_catch_its_own_kind():
    with pytest.raises(ValueError, match="no labels"):
        raise errors.NoLabelsError("no labels")


def test_all_that_name_an_extra_say_alike_how_it_is_installed():
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"\binstall\('([\w-]+)'\)", text)}
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert named
    assert named <= set(project["optional-dependencies"])
    assert sum("polyprompt[" in text for text in texts) == 1  # errors.py
    assert errors.install("lance").startswith("pip install '.[lance]' in a clone")
