"""STS-B, the benchmark drawn from the tasks of 2012 to 2017."""

import os
from collections.abc import Iterator
from pathlib import Path

from polyprompt.data.entry import Entry
from polyprompt.data.layouts import tab_separated
from polyprompt.data.readers import tables
from polyprompt.data.rows import ScoredRow

SPLITS = ("train", "dev", "test")


def rows(folder: Path, part: str, split: str | None) -> Iterator[ScoredRow]:
    """From `sts-train.csv` and its like (tabs, no quoting, score and sentences in fields 5 to 7), or one `stsb.tsv`."""
    del part
    if os.path.isfile(folder / "stsb.tsv"):
        for row in tables.rows(str(folder / "stsb.tsv")):
            if isinstance(row, ScoredRow):
                yield row
        return
    for split_name in SPLITS if split is None else [split]:
        for where, fields in tab_separated(folder / f"sts-{split_name}.csv", 7):
            yield ScoredRow(where, fields[5], fields[6], tables.number(fields[4], where), split_name)


ENTRY = Entry(
    title="STS-B (Cer et al. 2017)",
    holds="scores",
    rows=rows,
    folders=("stsbenchmark", "STS/STSBenchmark", "STSBenchmark", "."),
    splits=SPLITS,
    counts={"train": 5_749, "dev": 1_500, "test": 1_379},
    page="https://ixa2.si.ehu.eus/stswiki/index.php/STSbenchmark",
    licence="by part; see its page",
    steps=("Fetch Stsbenchmark.tar.gz from its page, unpack it; mteb/stsbenchmark-sts on the hub holds it, too",),
    notes=("say whether train was used, and on which split a layer or prompt was chosen",),
)
