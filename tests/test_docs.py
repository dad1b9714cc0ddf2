"""What the documentation names is there."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = re.compile(r"`((?:[\w.-]+/)+[\w.-]*\.(?:py|md|yaml|ipynb))(?:`|,)")
LINKED = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    named = [name for name in NAMED.findall(text) if not any((p / name).is_file() for p in places())]
    linked = [link for link in LINKED.findall(text) if not (page.parent / link).exists()]
    assert named + linked == []


def test_every_pages_names_are_seen():
    assert NAMED.findall("see `nn/tree.py`, `a/b.md` and `grow`") == ["nn/tree.py", "a/b.md"]
    assert LINKED.findall("[here](docs/design.md#top) and [there](https://example.org)") == ["docs/design.md"]


def test_the_page_of_commands_is_what_the_program_says():
    program = runpy.run_path(str(ROOT / "docs" / "cli.py"))
    assert program["PAGE"].read_text(encoding="utf-8") == program["page"](), "write it again: python docs/cli.py"


def test_the_tables_of_methods_are_what_their_files_say():
    program = runpy.run_path(str(ROOT / "docs" / "methods.py"))
    for path, text in ((program["PAGE"], program["page"]()), (program["README"], program["readme"]())):
        assert path.read_text(encoding="utf-8") == text, "write it again: python docs/methods.py"
        assert "| `maple` |" in text


def places() -> tuple[Path, ...]:
    return ROOT, ROOT / "src" / "polyprompt"
