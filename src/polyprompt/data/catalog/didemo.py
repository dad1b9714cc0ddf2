"""DiDeMo: all sentences of a video, joined by blanks, are its one text."""

from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.entry import Entry
from polyprompt.data.files import Places
from polyprompt.data.json_files import content, field
from polyprompt.data.layouts import video_of
from polyprompt.data.rows import Row
from polyprompt.errors import DataError

SPLITS = ("train", "val", "test")


def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
    """A row for each video, in the order in which `{split}_data.json` speaks of them first."""
    del part
    places = Places(folder, "videos")
    for split_name in SPLITS if split is None else [split]:
        file = folder / f"{split_name}_data.json"
        entries = content(file)
        if not isinstance(entries, list):
            raise DataError(f"{file}: is no list of moments; take LocalizingMoments' own")
        texts: dict[str, list[str]] = {}
        for number, entry in enumerate(entries):
            where = f"{file.name}[{number}]"
            texts.setdefault(field(entry, "video", str, where), []).append(field(entry, "description", str, where))
        for name, sentences in texts.items():
            picture = video_of(places, name) or video_of(places, name.rpartition(".")[0], name)
            text = " ".join(sentence.strip() for sentence in sentences)
            yield Row(f"{file.name}, {name}", name, picture, text, split_name)
    places.warn()


ENTRY = Entry(
    title="DiDeMo (Hendricks et al. 2017), paragraphs",
    holds="captions",
    rows=rows,
    folders=("didemo", "DiDeMo"),
    splits=SPLITS,
    counts={"train": 8_395, "val": 1_065, "test": 1_004},
    captions={"train": 8_395, "val": 1_065, "test": 1_004},
    page="https://github.com/LisaAnne/LocalizingMoments",
    licence="code BSD; videos of Flickr's users",
    steps=(
        "Fetch train_data.json, val_data.json and test_data.json from its page, into didemo/",
        "Fetch the videos by its script, into didemo/videos/; some are gone",
    ),
    notes=("the usual tables have 8,392 train videos and 1,003 or 1,004 test ones; 64 tokens hold most paragraphs",),
)
