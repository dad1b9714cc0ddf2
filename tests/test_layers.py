"""Imports point one way: a module may import its own room and the rooms above it."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from polyprompt.methods import names

ROWS = [
    {"errors", "types", "values", "progress"},
    {"settings", "inputs"},
    {"disk", "media", "nn"},
    {"towers", "data", "train", "evaluate"},
    {"zoo", "adapt"},
    {"campe", "methods"},
    {"runs", "executors"},
    {"bench", "search"},
    {"report"},
    {"serve", "skins"},
    {"cli"},
]
HEIGHT = {name: height for height, names in enumerate(ROWS) for name in names}
WORD = re.compile(r"\w+").findall
PACKAGE = Path(__file__).parents[1] / "src" / "polyprompt"


def test_no_module_imports_itself_by_way_of_others():
    """Late imports count: a cycle that is put off is one."""
    modules = {name_of(path): path for path in PACKAGE.rglob("*.py")}
    graph = {name: imports(path) & modules.keys() - {name} for name, path in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_a_cycle_is_seen():
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()


def test_no_method_is_named_outside_its_room():
    """But where a format or a loss is a method's own; what docstrings say, examples above all, does not count."""
    words = set(names()) - {"language", "fusion"}  # these mean other things, too
    allowed = {"skins/peft.py", "cli/export_peft.py"}
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).as_posix()
        if here not in allowed and not here.startswith(("methods/", "adapt/terms/")):
            wrong += [f"{here}:{line} says {text!r:.80}" for line, text in strings(path) if words & set(WORD(text))]
    assert not wrong, "\n".join(wrong)


def strings(path: Path) -> list[tuple[int, str]]:
    """The string constants of a file, docstrings aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """The modules that a file imports to run; those for its types alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    types = {id(inner) for node in guarded for inner in ast.walk(node)}
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in types:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import) and id(node) not in types:
            found |= {alias.name for alias in node.names}
    return found


def test_imports_point_one_way():
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, name in wrong_imports(path.relative_to(PACKAGE), path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("nn/a.py", "from polyprompt.towers.llm import LLM", [(1, "towers")]),
        ("nn/a.py", "from polyprompt import errors, towers", [(1, "towers")]),
        ("nn/a.py", "def f():\n    import polyprompt.cli.main", [(2, "cli")]),
        ("methods/a.py", "from polyprompt.campe import text", [(1, "campe")]),
        ("towers/a.py", "from ..campe import text", [(1, "a relative name")]),
        ("attic/a.py", "from polyprompt.errors import DataError", [(1, "errors from a room without a row")]),
        ("errors.py", "from polyprompt.types import Pixels", [(1, "types")]),
        ("campe/a.py", "import torch\nfrom polyprompt.campe.image import ImageSide\nimport polyprompt.nn.tree", []),
        ("cli/a.py", "from polyprompt import __version__", []),
        ("__init__.py", "from polyprompt.cli import main", []),
    ],
)
def test_a_wrong_import_is_seen(path, source, wrong):
    assert wrong_imports(Path(path), source) == wrong


def wrong_imports(path: Path, source: str) -> list[tuple[int, str]]:
    """Line and name of each import that a module may not have; the package's own `__init__` may import anything."""
    here = path.with_suffix("").parts[0]
    if here.startswith("__"):
        return []
    return [
        (node.lineno, name if here in HEIGHT else f"{name} from a room without a row")
        for node in ast.walk(ast.parse(source))
        for name in imported(node)
        if name != here and HEIGHT.get(name, len(ROWS)) >= HEIGHT.get(here, -1)
    ]


def imported(node: ast.AST) -> list[str]:
    """The rooms that an import statement names; relative imports are not used here."""
    match node:
        case ast.ImportFrom(level=level) if level:
            return ["a relative name"]
        case ast.ImportFrom(module=str(module), names=aliases):
            modules = [f"{module}.{alias.name}" for alias in aliases]
        case ast.Import(names=aliases):
            modules = [alias.name for alias in aliases]
        case _:
            return []
    rooms = [module.split(".")[1] for module in modules if module.startswith("polyprompt.")]
    return [room for room in rooms if not room.startswith("__")]
