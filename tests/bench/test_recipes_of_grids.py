"""Every recipe of a grid is one: its keys, its methods and their settings, its protocol, its own command."""

from pathlib import Path

import pytest

from polyprompt.bench.protocols import protocol
from polyprompt.bench.settings import GridSettings
from polyprompt.disk.yaml import read_yaml
from polyprompt.errors import ConfigError
from polyprompt.methods import config_of
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import check, checked

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.glob("grid-*.yaml"))


@pytest.fixture(params=RECIPES, ids=lambda path: path.stem)
def recipe(request):
    return request.param


def test_there_is_one_for_each_table():
    assert {read_yaml(path)["protocol"] for path in RECIPES} == {"base-to-novel", "single-source", "few-shot"}


def test_a_recipe_is_a_grid_of_known_methods(recipe):
    grid = checked(GridSettings, read_yaml(recipe), recipe.name)
    rules = protocol(grid.protocol)
    assert list(rules.sets(grid.data))
    check(AdaptSettings, grid.settings, recipe.name)
    for method in grid.methods:
        settings = {"name": method} if isinstance(method, str) else dict(method)
        settings.pop("called", None)
        config = config_of(settings.pop("name"))
        check(AdaptSettings, settings.pop("training", {}), recipe.name)
        assert settings.keys() <= set(config.__dataclass_fields__)
        if grid.protocol == "base-to-novel":
            assert config.__module__.rpartition(".")[2] not in ("linear_probe", "nearest_mean")  # know no novel class
    assert grid.seeds == (1, 2, 3)


def test_its_command_is_that_of_its_file(recipe):
    head = recipe.read_text().splitlines()
    assert f"#     polyprompt run recipes/{recipe.name} --out runs/{recipe.stem}" in head
    assert f"#     polyprompt report runs/{recipe.stem}" in head


def test_a_wrong_key_is_told(recipe):
    values = read_yaml(recipe)
    values["seed"] = values.pop("seeds")
    with pytest.raises(ConfigError, match="seeds") as error:
        checked(GridSettings, values, recipe.name)
    assert "\n" not in str(error.value)
