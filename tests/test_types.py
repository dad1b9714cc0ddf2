"""The legend of types.py is complete: every letter of a shape in the package stands in it, and nothing else does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import polyprompt.types

SOURCE = Path(polyprompt.types.__file__).parent
KINDS = {"Float", "Int", "Bool", "UInt8", "Shaped"}
SPELT_OUT = {"height", "width", "size", "rows", "columns", "_", "..."}
"""Sizes that say themselves, and jaxtyping's own signs."""


def legend() -> set[str]:
    """What stands first in each entry: a letter, then at least one blank and words."""
    lines = (polyprompt.types.__doc__ or "").split("\n\n")[1].splitlines()
    entries = (entry.strip() for line in lines for entry in line.replace(", ", "  ").split("  ") if entry.strip())
    return {entry.split(" ")[0] for entry in entries if len(entry.split(" ")[0]) == 1}


def shapes() -> Iterator[tuple[str, str]]:
    """Every shape in an annotation, with its place."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Subscript(
                    value=ast.Name(id=kind), slice=ast.Tuple(elts=[*_, ast.Constant(value=str(shape))])
                ) if kind in KINDS:
                    yield f"{path.relative_to(SOURCE)}:{node.lineno}", shape


def test_every_letter_of_a_shape_is_in_the_legend_and_the_legend_holds_no_other():
    known, used, unknown = legend(), set(), []
    for place, shape in shapes():
        for axis in shape.split():
            letter = axis.lstrip("*#")
            used.add(letter)
            if letter not in known | SPELT_OUT and not letter.isdigit():
                unknown.append(f"{place}: {axis!r} in {shape!r}")
    assert not unknown, "\n".join(unknown)
    assert known <= used
    assert len(known) > 15
