"""The site builds without a warning, so no link in it is broken, and it fetches nothing when it is read."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
FETCHED = re.compile(
    r"<(?:link|script|img|iframe|source)\b[^>]*?(?:href|src)=[\"']?(?:https?:)?//|@import|url\(.?https?:"
)


def test_what_is_fetched_is_seen():
    assert FETCHED.search('<link rel="stylesheet" href="https://fonts.example/css">')
    assert FETCHED.search("src: url('https://fonts.example/a.woff')")
    assert not FETCHED.search('<a href="https://arxiv.org">paper</a> <img src="_images/cat.png">')


@pytest.mark.slow
def test_the_site_builds_and_fetches_nothing(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", DOCS, tmp_path / "site"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = [path for path in (tmp_path / "site").rglob("*") if path.suffix in {".html", ".css"}]
    assert len(pages) > 20
    assert [path.name for path in pages if FETCHED.search(path.read_text(encoding="utf-8"))] == []
    assert "PromptClassifier" in (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
