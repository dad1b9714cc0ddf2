"""Mutants: small breakages of a file, drawn at random, and whether the tests nearest to it notice them.

A mutant is one change of the source's tree: another comparison, operator or constant, a condition turned round, a
return of nothing, a statement that is left out. Each runs its tests in a process forked from one that has imported the
heavy libraries; it, and the processes that it starts, import the package from a copy with the changed file.
"""

import ast
import copy
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "polyprompt"
AREAS: dict[str, dict[str, list[str]]] = {
    "losses": {
        "nn/losses.py": ["nn/test_losses.py"],
        "nn/tiles.py": ["nn/test_tiles.py", "nn/test_losses.py"],
        "nn/segments.py": ["nn/test_segments.py", "nn/test_losses.py"],
    },
    "masks": {
        "nn/tree.py": ["nn/test_tree.py", "towers/test_llm.py"],
        "nn/trie.py": ["nn/test_trie.py"],
        "nn/prompts.py": ["nn/test_prompts.py"],
    },
    "cache keys": {
        "towers/fingerprint.py": ["towers/test_fingerprint.py"],
        "disk/rows.py": ["disk/test_rows.py"],
        "campe/cache.py": ["campe/test_cache.py"],
    },
    "writers": {
        "disk/files.py": ["disk/test_files.py"],
        "disk/sealed.py": ["disk/test_sealed.py"],
        "disk/pieces.py": ["disk/test_pieces.py", "disk/test_rows.py"],
    },
}
"""Files of each area, and the tests that mirror them."""
PRELOAD = ("torch", "torchvision", "transformers", "timm", "hypothesis", "pytest", "scipy", "accelerate", "beartype")

OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.MatMult: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of a file."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.kind}: `{self.before}` to `{self.after}`"


def mutants(file: str, text: str) -> Iterator[Mutant]:
    """All changes of a file, in the order of its lines."""
    tree = ast.parse(text)
    for place in places(tree):
        yield _mutant(file, tree, place)


def places(tree: ast.AST) -> list[tuple[int, int]]:
    """Every change that can be made: which node, counted over the code, and which of its changes."""
    return [(number, which) for number, node in enumerate(_code(tree)) for which, _ in enumerate(_changes(node))]


def _mutant(file: str, tree: ast.AST, place: tuple[int, int]) -> Mutant:
    changed = copy.deepcopy(tree)
    node = next(itertools.islice(_code(changed), place[0], None))
    kind, new = list(_changes(node))[place[1]]
    line, before, after = getattr(node, "lineno", 0), ast.unparse(node), ast.unparse(new)
    _put(changed, node, new)
    return Mutant(file, line, kind, _short(before), _short(after), ast.unparse(ast.fix_missing_locations(changed)))


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """What is computed: no annotations, docstrings, decorators, imports or messages of errors."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params", "exc") or isinstance(tree, ast.JoinedStr):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(node, ast.Import | ast.ImportFrom):
                yield node
                yield from _code(node)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in a node's place, and of which kind that is."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in OTHER:
            new = copy.deepcopy(node)
            new.ops = [OTHER[type(op)]()]  # pyright: ignore[reportAttributeAccessIssue]
            yield "comparison", new
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in OTHER:
            new = copy.deepcopy(node)
            new.op = OTHER[type(op)]()  # pyright: ignore[reportAttributeAccessIssue]
            yield "operator", new
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield "operator", copy.deepcopy(operand)
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", ast.Constant(value + 1)
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield "return", ast.Return(ast.Constant(None))
        case ast.If(test=test) | ast.IfExp(test=test):
            new = copy.deepcopy(node)
            new.test = ast.UnaryOp(ast.Not(), copy.deepcopy(test))
            yield "condition", new
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield "dropped", ast.Pass()


def _put(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(one is old for one in value):
                value[:] = [new if one is old else one for one in value]


def _short(text: str) -> str:
    first, *more = text.splitlines()
    return first[:70] + ("..." if more or len(first) > 70 else "")


@dataclass
class Counted:
    """What became of the mutants of an area."""

    area: str
    mutants: int = 0
    noticed: int = 0
    survivors: list[str] = field(default_factory=list)


def drawn(area: str, count: int, seed: int = 0) -> list[Mutant]:
    """As many mutants of an area, spread over its files by their numbers of changes."""
    trees = {file: ast.parse((SOURCE / file).read_text()) for file in AREAS[area]}
    every = [(file, place) for file, tree in trees.items() for place in places(tree)]
    chosen = random.Random(f"{area} {seed}").sample(every, min(count, len(every)))
    return [_mutant(file, trees[file], place) for file, place in chosen]


def count(area: str, number: int, until: float = float("inf")) -> Iterator[Counted]:
    """After each mutant, how many were noticed so far; it ends at `until` on `time.monotonic`'s clock.

    Raises:
        AssertionError: tests fail, or take no time, without any mutant.
    """
    for name in PRELOAD:
        __import__(name)
    limits: dict[str, float] = {}
    for file, tests in AREAS[area].items():
        began = time.monotonic()
        assert not noticed(None, tests, 600), f"{tests} fail as they are"
        limits[file] = 30 + 5 * (time.monotonic() - began)
    found = Counted(area)
    for one in drawn(area, number):
        left = until - time.monotonic()
        seen = left > 0 and noticed(one, AREAS[area][one.file], min(limits[one.file], left))
        if time.monotonic() > until:  # it may have ended for that
            break
        found.mutants += 1
        if seen:
            found.noticed += 1
        else:
            found.survivors.append(str(one))
        yield found


def noticed(mutant: Mutant | None, tests: list[str], seconds: float) -> bool:
    """Whether the tests fail, or do not end in time, on a copy of the package with the mutant in its file's place."""
    with tempfile.TemporaryDirectory() as source:
        shutil.copytree(SOURCE, Path(source) / SOURCE.name)
        if mutant is not None:
            (Path(source) / SOURCE.name / mutant.file).write_text(mutant.text)
        return _fails(Path(source), tests, seconds)


def _fails(source: Path, tests: list[str], seconds: float) -> bool:
    pid = os.fork()
    if pid == 0:
        os.setsid()  # so that what the tests start ends with them
        code = 99
        try:
            code = _tested(source, tests)
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.05)
    with suppress(ProcessLookupError):  # it leads no group yet
        os.killpg(pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def _tested(source: Path, tests: list[str]) -> int:
    import pytest

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    for name in [name for name in sys.modules if name.partition(".")[0] == "polyprompt"]:
        del sys.modules[name]
    sys.path[:0] = [str(source)]
    os.environ["PYTHONPATH"] = str(source)  # of processes that the tests start
    os.chdir(ROOT)
    chosen = [str(ROOT / "tests" / test) for test in tests]
    early = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of plugins that are imported already
    return int(pytest.main([*chosen, "-x", "-p", "no:cacheprovider", *early]))
