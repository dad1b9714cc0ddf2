"""MSVD: clips of about ten seconds with some 41 English captions each.

Captions are read from `AllVideoDescriptions.txt` ("id_start_end caption" in a line); `raw-captions.pkl`, which others
read, is a pickle, and none is opened here.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.entry import Entry
from polyprompt.data.files import Places
from polyprompt.data.layouts import lines_of, numbered_lines, video_of
from polyprompt.data.rows import Row
from polyprompt.errors import DataError

SPLITS = ("train", "val", "test")


def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
    """A row for each caption of a clip that one of the three lists names."""
    del part, split
    split_of: dict[str, str] = {}
    for split_name in SPLITS:
        for name in lines_of(folder / f"{split_name}_list.txt"):
            if split_of.setdefault(name, split_name) != split_name:
                lists = f"{split_of[name]}_list.txt and {split_name}_list.txt"
                raise DataError(f"{folder}: {name} is in {lists}; a clip has one split, take it out of one of them")
    places = Places(folder, "YouTubeClips", "MSVD_Videos")
    pictures = {name: video_of(places, name) for name in split_of}
    captions = folder / "AllVideoDescriptions.txt"
    if not os.path.isfile(captions) and os.path.isfile(folder / "raw-captions.pkl"):
        raise DataError(
            f"{folder}: raw-captions.pkl is a pickle, and none is opened; put AllVideoDescriptions.txt there"
        )
    for number, line in numbered_lines(captions):
        name, _, caption = line.partition(" ")
        if name in split_of:  # the head of the file is a comment
            yield Row(f"{captions.name}, line {number}", name, pictures[name], caption, split_of[name])
    places.warn()


ENTRY = Entry(
    title="MSVD (Chen and Dolan 2011), 1,970 clips",
    holds="captions",
    rows=rows,
    folders=("msvd", "MSVD"),
    splits=SPLITS,
    counts={"train": 1_200, "val": 100, "test": 670},
    captions={"test": 27_763},
    page="https://www.cs.utexas.edu/~ml/clamp/videoDescription/",
    licence="none stated; YouTube's users' clips",
    steps=(
        "Fetch YouTubeClips.tar and AllVideoDescriptions.txt from its page, into msvd/",
        "Put train_list.txt, val_list.txt and test_list.txt of CLIP4Clip's msvd_data.zip beside them",
    ),
    notes=("mteb has 660 of the test clips, with their first caption only",),
)
