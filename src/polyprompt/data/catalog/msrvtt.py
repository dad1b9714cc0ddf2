"""MSR-VTT: `msrvtt:full`, the official splits, and `msrvtt:1k-a`, JSFusion's test of 1,000 clips with a sentence each.

1k-A's train is "9k": all clips but its test, with all 20 captions; its split `train-7k` is the official train and
validate. Its val is empty in the literature: tune on a part of train. The captions are the release's two JSON files, or
CLIP4Clip's `MSRVTT_data.json`, which holds both.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from polyprompt.data.entry import Entry
from polyprompt.data.files import Places, folder_name, matching
from polyprompt.data.json_files import content, field
from polyprompt.data.layouts import video_of
from polyprompt.data.messages import count, say_once, some
from polyprompt.data.readers.tables import records
from polyprompt.data.rows import Row
from polyprompt.errors import DataError

TEST_1KA = "MSRVTT_JSFUSION_test.csv"
OFFICIAL = {"train": "train", "validate": "val", "test": "test"}
VIDEOS = ("TrainValVideo", "TestVideo", "videos/all", "videos", "MSRVTT_Videos")


def rows(folder: Path, part: str, split: str | None) -> Iterator[Row]:
    """A row for each sentence of a clip; of 1k-A's test the one sentence of its csv."""
    files = sorted(file for near in (folder, folder / "annotation") for file in matching(near, "*.json"))
    releases = [file for file in files if _is_release(file)]
    if not releases:
        raise DataError(f"{folder}: no JSON with videos and sentences in it (train_val_videodatainfo.json, ...)")
    places = Places(folder, *VIDEOS)
    if part == "full":
        yield from _told_once(folder, releases, places)
        places.warn()
        return
    test = {row.key: row for row in _test_1ka(folder, places)}
    for row in _told_once(folder, releases, places):
        if split == "train-7k" and row.split != "test":
            yield _named(row, "train-7k")
        elif split != "train-7k" and row.key not in test:
            yield _named(row, "train")
    yield from test.values()
    places.warn()


def _is_release(file: Path) -> bool:
    data = content(file)
    return isinstance(data, dict) and "videos" in data and "sentences" in data


def _told_once(folder: Path, files: Sequence[Path], places: Places) -> Iterator[Row]:
    """The sentences of all files; those of a clip that several have (the release, and CLIP4Clip's) from the first."""
    first: dict[str, Path] = {}
    again: dict[str, str] = {}
    for file in files:
        for row in _sentences(file, places):
            if (taken := first.setdefault(row.key, file)) is file:
                yield row
            else:
                again[row.key] = f"{row.key} from {taken.name}, not {file.name}"
    if again:
        number = count(len(again), "clip is", "clips are")
        say_once(
            str(folder), f"{folder_name(folder)}: {number} in several files; read is {some([*again.values()], 1)}."
        )


def _sentences(file: Path, places: Places) -> Iterator[Row]:
    split_of = {}
    for number, video in enumerate(field(content(file), "videos", list, file.name)):
        where = f"{file.name}, videos[{number}]"
        split = field(video, "split", str, where)
        split_of[field(video, "video_id", str, where)] = OFFICIAL.get(split, split)
    pictures = {name: video_of(places, name) for name in split_of}
    for number, sentence in enumerate(field(content(file), "sentences", list, file.name)):
        where = f"{file.name}, sentences[{number}]"
        name = field(sentence, "video_id", str, where)
        if name not in split_of:
            raise DataError(f"{where}: {name!r} is not among the videos")
        yield Row(where, name, pictures[name], field(sentence, "caption", str, where), split_of[name])


def _test_1ka(folder: Path, places: Places) -> Iterator[Row]:
    file = folder / TEST_1KA
    for line, cells in records(file):
        name, caption = (cells.get(column) for column in ("video_id", "sentence"))
        if not (isinstance(name, str) and isinstance(caption, str)):
            raise DataError(f"{file.name}, line {line}: needs the columns video_id and sentence")
        yield Row(f"{file.name}, line {line}", name, video_of(places, name), caption, "test")


def _named(row: Row, split: str) -> Row:
    return Row(row.where, row.key, row.picture, row.caption, split)


ENTRY = Entry(
    title="MSR-VTT (Xu et al. 2016), 10,000 clips with 20 captions each",
    holds="captions",
    rows=rows,
    folders=("msrvtt", "MSRVTT", "MSR-VTT"),
    parts=("full", "1k-a"),
    splits=("train", "val", "test"),
    splits_of_part={"1k-a": ("train", "train-7k", "test")},
    counts={
        "full/train": 6_513,
        "full/val": 497,
        "full/test": 2_990,
        "1k-a/train": 9_000,
        "1k-a/train-7k": 7_010,
        "1k-a/test": 1_000,
    },
    captions={"full/train": 130_260, "full/val": 9_940, "full/test": 59_800, "1k-a/train": 180_000, "1k-a/test": 1_000},
    page="https://cove.thecvf.com/datasets/839",
    licence="none stated; YouTube's users' clips",
    steps=(
        "Clips: https://www.robots.ox.ac.uk/~maxbain/frozen-in-time/data/MSRVTT.zip, unpacked as msrvtt/videos/all",
        "Captions: WingsBrokenAngel/MSR-VTT-DataCleaning, the two zips of clean_process/",
        "For 1k-A: MSRVTT_JSFUSION_test.csv of CLIP4Clip's msrvtt_data.zip, into msrvtt/",
    ),
    notes=(
        "say which of the two is meant: they are not comparable; mteb's has 879 of 1k-A's 1,000 clips",
        "35 of 1k-A's sentences are not word for word among the clip's 20; four stand for nine of its clips",
    ),
)
