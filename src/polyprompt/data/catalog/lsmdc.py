"""LSMDC (2016): clips of films with one sentence each, in which SOMEONE stands for every name."""

from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.entry import Entry
from polyprompt.data.files import Places, Walk
from polyprompt.data.layouts import tab_separated, video_of
from polyprompt.data.rows import Row

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}


def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
    """A row for each line of six fields: clip, four times, sentence. A film has a folder of its own, or none."""
    del part
    files = Walk(folder).files(folder)
    films = dict.fromkeys(str(file.parent.relative_to(folder)) for file in files)
    places = Places(folder, *films)
    for split_name in FILES if split is None else [split]:
        for where, fields in tab_separated(folder / FILES[split_name], 6):
            clip = fields[0]
            yield Row(where, clip, video_of(places, clip), fields[5], split_name)
    places.warn()


ENTRY = Entry(
    title="LSMDC (Rohrbach et al. 2017), clips of films",
    holds="captions",
    rows=rows,
    folders=("lsmdc", "LSMDC"),
    splits=tuple(FILES),
    counts={"train": 101_079, "val": 7_408, "test": 1_000},
    captions={"test": 1_000},
    page="https://sites.google.com/site/describingmovies/download",
    licence="by agreement with MPII, research only",
    form=True,
    steps=(
        "Sign the agreement of its page; the three csv files and the folders of clips come with it",
        "Put them into lsmdc/",
    ),
    notes=("a clip may have several sentences in train; no public mirror",),
)
