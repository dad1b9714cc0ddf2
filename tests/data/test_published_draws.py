"""The draw gives the authors' public index files, byte for byte, from the split files that come with the package."""

import hashlib
import json
import lzma
import random
from functools import cache
from pathlib import Path

import pytest

from polyprompt.data.fewshot import base_and_novel, few_shot
from polyprompt.data.items import Labelled
from polyprompt.data.labels import Classes, labelled_of
from polyprompt.data.layouts import PACKAGED
from polyprompt.data.readers import split_file
from polyprompt.data.rows import Row

DRAWS = json.loads((Path(__file__).parent / "draws.json").read_text())["draws"]
SETS = {  # file, where the pictures lie below the set's folder, test pictures of base and novel
    "caltech101": ("Caltech101", "101_ObjectCategories/", 1549, 916),
    "dtd": ("DescribableTextures", "images/", 864, 828),
    "eurosat": ("EuroSAT", "2750/", 4200, 3900),
    "oxford_flowers": ("OxfordFlowers", "jpg/", 1053, 1410),
    "oxford_pets": ("OxfordPets", "images/", 1881, 1788),
    "stanford_cars": ("StanfordCars", "", 4002, 4039),
    "ucf101": ("UCF101", "UCF-101-midframes/", 1934, 1849),
}
CASES = [(name, *map(int, case.split(", "))) for name in SETS for case in DRAWS[name]]
"""105 of the 150: the split files of food101, sun397 and fgvc_aircraft are not here."""


@cache
def labelled(name: str, split: str) -> Labelled:
    """A split as it is read, with pictures that are not there."""
    file = f"split_zhou_{SETS[name][0]}.json"
    content = json.loads(lzma.decompress((PACKAGED / f"{file}.xz").read_bytes()))
    classes, rows = Classes(), []
    for row in split_file.rows_below(Path(file), content, Path("nowhere")):
        classes.add(row)
        if row.split == split:
            rows.append(there(row))
    return labelled_of(name, file, rows, classes, None, 0)


def there(row: Row) -> Row:
    from polyprompt.data.items import Picture

    return Row(row.where, row.key, Picture(row.key, bytes), None, row.split, row.label, row.class_name)


def digest(name: str, drawn: Labelled) -> str:
    return hashlib.sha256("\n".join(SETS[name][1] + p.key for p in drawn.pictures).encode()).hexdigest()


def test_all_cases_are_looked_at():
    assert len(CASES) == 105
    assert sum(map(len, DRAWS.values())) == 150


@pytest.mark.parametrize(("name", "shots", "seed"), CASES)
def test_a_draw_is_the_published_one(name, shots, seed):
    draw = random.Random(seed)
    train = few_shot(labelled(name, "train"), shots, draw)
    val = few_shot(labelled(name, "val"), min(shots, 4), draw)  # from the same stream
    assert [digest(name, train), digest(name, val)] == DRAWS[name][f"{shots}, {seed}"]


def test_a_draw_is_a_function_of_its_arguments():
    """Whatever was drawn before, from Python's global generator or from another set."""
    data = labelled("dtd", "train")
    random.seed(7)
    first = few_shot(data, 4, random.Random(2))
    few_shot(labelled("eurosat", "train"), 16, random.Random(2))
    random.random()
    assert few_shot(data, 4, random.Random(2)) == first


@pytest.mark.parametrize("name", SETS)
def test_the_halves_have_the_published_sizes(name):
    base, novel = base_and_novel(labelled(name, "test"))
    assert (len(base.pictures), len(novel.pictures)) == SETS[name][2:]
    assert len(base.class_names) - len(novel.class_names) in (0, 1)


@pytest.mark.parametrize(
    ("name", "label", "class_name", "by_name"),
    [("caltech101", 0, "face", "accordion"), ("oxford_flowers", 0, "pink primrose", "alpine sea holly")],
)
def test_classes_are_in_the_order_of_labels(name, label, class_name, by_name):
    names = labelled(name, "train").class_names
    assert names[label] == class_name
    assert sorted(names)[0] == by_name
