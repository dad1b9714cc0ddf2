"""Every module can be imported, and importing the package costs next to nothing."""

import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "polyprompt").rglob("*.py")
    if path.stem != "__main__"  # importing it runs the program
)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported(module):
    assert import_module(module).__name__ == module


def test_import_polyprompt_is_quick():
    """Under 0.15 s above a bare interpreter; in turns, and the best of each, since the machine may be busy."""
    bare, ours = [], []
    for _ in range(5):
        bare.append(seconds("pass"))
        ours.append(seconds("import polyprompt"))
    assert min(ours) - min(bare) < 0.15


@pytest.mark.parametrize("module", ["polyprompt", "polyprompt.cli.app"])  # the second is all that --help needs
def test_import_loads_nothing_heavy(module):
    heavy = "torch", "torchvision", "transformers", "timm", "open_clip", "numpy", "PIL", "matplotlib"
    heavy += ("pydantic",) * (module == "polyprompt")
    code = f"import sys, {module}; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def seconds(code: str) -> float:
    """How long a fresh interpreter takes for `code`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    return time.perf_counter() - start
