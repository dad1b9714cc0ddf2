"""SICK-R: sentences about pictures, scored 1 to 5. SentEval and SimCSE score the test pairs, mteb all 9,927."""

import os
from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import suite
from polyprompt.data.readers import tables
from polyprompt.data.rows import ScoredRow, text_of
from polyprompt.errors import DataError

SPLITS = {"TRAIN": "train", "TRIAL": "dev", "TEST": "test"}


def rows(folder: Path, part: str, split: str | None) -> Iterator[ScoredRow]:
    """From `SICK.txt` (columns sentence_A, sentence_B, relatedness_score, SemEval_set), or `sts_suite.tsv`."""
    del part, split
    if os.path.isfile(folder / "sts_suite.tsv"):
        yield from suite(folder / "sts_suite.tsv", "SICK-R")
        return
    file = folder / "SICK.txt"
    for line, cells in tables.records(file):
        where = f"{file.name}, line {line}"
        if (split_name := SPLITS.get(cells.get("SemEval_set", ""))) is None:
            raise DataError(f"{where}: SemEval_set is {cells.get('SemEval_set')!r}; must be TRAIN, TRIAL or TEST")
        score = tables.number(cells.get("relatedness_score"), where)
        first, second = (text_of(cells.get(name), name, where) for name in ("sentence_A", "sentence_B"))
        yield ScoredRow(where, first, second, score, split_name)


ENTRY = Entry(
    title="SICK-R (Marelli et al. 2014)",
    holds="scores",
    rows=rows,
    folders=("SICK", "sick", "STS", "."),
    splits=tuple(SPLITS.values()),
    counts={"train": 4_500, "dev": 500, "test": 4_927},
    page="https://zenodo.org/records/2787612",
    licence="CC BY-NC-SA 3.0",
    steps=("Fetch SICK.zip from its page, unpack it as SICK/SICK.txt; mteb/sickr-sts on the hub holds it, too",),
)
