"""The how-to pages do what they say: their commands and their Python are run as they stand, in order, on toy towers."""

import importlib
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_place import toy_place
from typer.testing import CliRunner

from polyprompt.cli.app import app

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "start.md", *sorted((DOCS / "how").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LEFT = {  # what a page leaves behind
    "start": [],
    "own-pictures": ["runs/pets/results.json"],
    "own-captions": ["runs/photos/results.json", "why.png"],
    "compare": ["grid.html", "grid.md"],
    "search": ["cats.png"],
    "machines": [],
    "serve": ["collections/served/collection.json"],
    "export": ["pets.onnx", "wild.onnx", "adapters/small/adapter_config.json", "adapters/lora/adapter_config.json"],
    "own-method": ["runs/step/results.json"],
    "other-tools": [],
    "report": ["report.html"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One working folder for all pages."""
    place = tmp_path_factory.mktemp("how")
    with toy_place(place):
        yield place
    forget()


def forget():
    """Nobody has imported what lies in the working folder: each command is a program of its own."""
    for name in [name for name in sys.modules if name.split(".")[0] == "my_lab"]:
        del sys.modules[name]


@pytest.fixture
def serving():
    """Starts a server and waits until it answers; it ends with the page."""
    started = []

    def start(words):
        one = subprocess.Popen([sys.executable, "-m", "polyprompt", *words], stdout=subprocess.DEVNULL)
        started.append(one)
        for _ in range(600):
            with socket.socket() as asking:
                if asking.connect_ex(("127.0.0.1", 8008)) == 0:
                    break
            assert one.poll() is None
            time.sleep(0.1)
        else:
            raise AssertionError("no answer in a minute")

    yield start
    for one in started:
        one.terminate()
        one.wait(30)


def test_every_page_is_in_the_index():
    listed = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    assert {page.stem for page in PAGES} == set(LEFT)
    assert all(page.relative_to(DOCS).with_suffix("").as_posix() in listed for page in PAGES)


def test_no_block_is_left_out():
    """An indented block is not run; a fenced one is, or this fails."""
    for page in PAGES:
        assert {kind for kind, _ in BLOCK.findall(page.read_text(encoding="utf-8"))} <= {"sh", "python"}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page, place, serving, environ):
    names = {}
    for kind, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "sh":
            run_commands(code, serving, environ)
        elif file := re.match(r"# (my_lab/\w+\.py)\n", code):
            path = place / file[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(code)
            importlib.invalidate_caches()
        else:
            exec(compile(code, page.name, "exec"), names)
    assert all((place / name).is_file() for name in LEFT[page.stem])


def run_commands(code, serving, environ):
    """Every line is a polyprompt command that succeeds and says something, or exports a variable for them."""
    for line in code.splitlines():
        program, *words = shlex.split(line)
        if program == "export":
            environ(**dict(word.split("=", 1) for word in words))
            continue
        assert program == "polyprompt"
        forget()
        if words[0] == "serve":
            serving(words)
            continue
        end = CliRunner().invoke(app, words, catch_exceptions=False)
        assert end.exit_code == 0, f"{line}\n{end.output}"
        assert end.stdout
