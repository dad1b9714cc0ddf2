"""FGVC Aircraft with its official splits of variants; there is no split file."""

from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.entry import Download, Entry
from polyprompt.data.files import Places, key_of
from polyprompt.data.layouts import lines_of, numbered_lines
from polyprompt.data.rows import Row
from polyprompt.errors import DataError

SPLITS = ("train", "val", "test")


def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
    """`variants.txt` gives names and order; a line of a list is "0034309 707-320"."""
    del part
    label_of = {name: label for label, name in enumerate(lines_of(folder / "variants.txt"))}
    places = Places(folder)
    for split_name in SPLITS if split is None else [split]:
        file = folder / f"images_variant_{split_name}.txt"
        for number, line in numbered_lines(file):
            picture, _, name = line.partition(" ")
            where = f"{file.name}, line {number}"
            if name not in label_of:
                raise DataError(f"{where}: {name!r} is not in variants.txt; take both from one release")
            key = f"images/{picture}.jpg"
            yield Row(where, key_of(key), places.find(key), split=split_name, label=label_of[name], class_name=name)
    places.warn()


ENTRY = Entry(
    title="FGVC Aircraft (Maji et al. 2013), 100 variants",
    holds="labels",
    rows=rows,
    folders=("fgvc_aircraft", "fgvc-aircraft-2013b/data"),
    splits=SPLITS,
    counts={"train": 3_334, "val": 3_333, "test": 3_333},
    classes=100,
    template="a photo of a {}, a type of aircraft.",
    order="variants.txt",
    page="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    licence="non-commercial research",
    downloads=(
        Download(
            url="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
        ),
    ),
    notes=(
        "the lowest 20 rows of each picture are a banner; nobody cuts them off",
        "names have slashes ('F-16A/B'), so none is a folder",
    ),
)
