"""Every recipe of align loads, its command is taken, and it runs, on toy towers and pictures."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from polyprompt.cli.app import app
from polyprompt.disk.yaml import read_yaml
from polyprompt.runs.align import AlignSettings
from polyprompt.settings import checked

ROOT = Path(__file__).parents[2]
RECIPES = [path for path in sorted((ROOT / "recipes").glob("*.yaml")) if "polyprompt align" in path.read_text()]


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request):
    return request.param


def test_there_are_recipes():
    assert [path.stem for path in RECIPES] == ["flickr8k", "openmoji"]


def test_a_recipe_names_its_own_command(recipe):
    (line,) = re.findall(r"^#   (polyprompt align .*)$", recipe.read_text(), re.MULTILINE)
    words = shlex.split(line)
    given = typer.main.get_command(app).commands["align"].make_context("align", words[2:]).params
    assert (ROOT / given["config"]) == recipe
    assert given["out"] == Path("runs") / recipe.stem


def test_a_recipe_runs(recipe, place, tmp_path, polyprompt):
    code, _, err = polyprompt(
        "align", place / "photos", "--config", recipe, "--text-tower", place / "llm", "--image-tower", place / "cnn",
        "--epochs", 1, "--precision", "fp32", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    wanted = checked(AlignSettings, read_yaml(recipe))
    assert config["dim"] == wanted.dim
    assert config["image"]["new_blocks"] == wanted.image.new_blocks
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
