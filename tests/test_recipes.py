"""Every recipe of adapt says what the authors did, and runs, on toy pictures and a toy encoder, otherwise unchanged."""

import json
import runpy
from pathlib import Path

import pytest
from PIL import Image
from toy_encoders import toy_encoder

from polyprompt.disk.yaml import read_yaml
from polyprompt.runs.adapt import adapt
from polyprompt.runs.resolve import resolved
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import checked

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = [path for path in sorted(FOLDER.glob("*.yaml")) if "polyprompt adapt" in path.read_text()]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (250, 250, 250)}


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request):
    return request.param


@pytest.fixture(scope="module")
def encoder():
    """As deep as ViT-B/16: the published prompts enter up to twelve blocks."""
    return toy_encoder("clip", layers=12)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Seventeen squares of each of four colours, sixteen of them to be drawn."""
    folder = tmp_path_factory.mktemp("photos")
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(17):
            Image.new("RGB", (16, 16), tuple(max(0, value - i) for value in colour)).save(folder / name / f"{i}.png")
    return folder


def read(recipe: Path) -> AdaptSettings:
    return checked(AdaptSettings, read_yaml(recipe), str(recipe))


def test_every_published_setting_has_its_recipe():
    """They are written by a program: python recipes/write.py"""
    written = runpy.run_path(str(FOLDER / "write.py"))["recipes"]()
    assert {path.name for path in RECIPES} == {*written, "zeroshot-base-to-novel.yaml"}
    for name, text in written.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, name


def test_a_recipe_holds_the_authors_settings(recipe):
    found = read(recipe)
    name = found.method["name"]
    assert recipe.stem == f"{name}-{found.protocol}"
    assert found.encoder == "ViT-B-16/openai"
    assert (found.shots, found.take_fewer) == (16, True)
    plain = AdaptSettings(data=found.data, encoder=found.encoder, method=name, protocol=found.protocol)
    published = resolved(plain)
    mine = resolved(found)
    for field in (
        "method",
        "epochs",
        "steps",
        "batch",
        "rate",
        "optimizer",
        "weight_decay",
        "eps",
        "schedule",
        "crop",
        "shots",
    ):
        assert getattr(mine, field) == getattr(published, field), field
    assert found.augment == (name != "zeroshot")
    assert bool(found.also) == (found.protocol == "cross-dataset")


def test_its_command_is_that_of_its_file(recipe):
    head = recipe.read_text().splitlines()
    (command,) = [line for line in head if "polyprompt adapt" in line]
    assert f"--config recipes/{recipe.name} " in command
    assert any(line.startswith("# Published") for line in head)


def run(recipe, encoder, photos, out, **settings) -> dict:
    found = read(recipe)
    data = {"data": str(photos), "encoder": "toy", "also": (str(photos),) if found.also else (), "precision": "fp32"}
    data["descriptions"] = found.descriptions and "random:2"
    adapt(found.model_copy(update=data | settings), out, encoder=encoder)
    return json.loads((out / "results.json").read_text())


def test_a_recipe_runs_for_an_epoch(recipe, encoder, photos, tmp_path, cache):
    settings = {} if read(recipe).method["name"] == "zeroshot" else {"epochs": 1}
    results = run(recipe, encoder, photos, tmp_path / "run", **settings)
    sets = {"base-to-novel": ["base", "novel"], "few-shot": ["test"], "cross-dataset": ["test", str(photos)]}
    assert list(results["classification"]) == sets[read(recipe).protocol]
    assert results["classification"][sets[read(recipe).protocol][0]]["pictures"] in (2, 4)


@pytest.mark.slow
def test_a_recipe_runs_to_its_end(recipe, encoder, photos, tmp_path, cache):
    fewer = {"steps": 200} if read(recipe).steps else {}  # of CLIP-LoRA's 8,000, which take most of an hour
    results = run(recipe, encoder, photos, tmp_path / "run", **fewer)
    assert results["config"]["epochs"] == read(recipe).epochs
