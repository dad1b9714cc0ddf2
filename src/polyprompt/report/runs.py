"""Reading run folders: results, log and samples, checked; and which runs differ by nothing but their seed."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from polyprompt.disk.places import nearby
from polyprompt.errors import FileError
from polyprompt.report import samples
from polyprompt.report.checked import as_checked, read_checked
from polyprompt.report.samples import Samples
from polyprompt.runs.folder import check_truth, read_results
from polyprompt.train.log import read_log
from polyprompt.values import Json, Values

Share = Annotated[float, Field(ge=0, le=1)]
Recalls = dict[Annotated[str, Field(pattern=r"^recall@[1-9]\d*$")], Share]
"""{"recall@1": 0.25, ...}"""
UNLIKE = {"seed", "name", "out", "folder", "resume"}
"""Settings in which two runs of one experiment may differ."""


class RetrievalScores(BaseModel):
    """What retrieval on one set gave."""

    model_config = ConfigDict(frozen=True)

    image_to_text: Recalls
    text_to_image: Recalls
    images: int | None = None
    captions: int | None = None
    aspects: dict[str, float | None] = {}


class Classified(BaseModel):
    """What classification on one set gave."""

    model_config = ConfigDict(frozen=True)

    accuracy: Share
    macro_f1: Share
    auc: Share | None = None
    calibration_error: Share
    pictures: int
    classes: int
    class_accuracy: dict[str, Share | None] = {}
    """None of a class without pictures."""


class Compared(BaseModel):
    """How well cosines rank the pairs of sentences of one set."""

    model_config = ConfigDict(frozen=True)

    spearman: Annotated[float, Field(ge=-1, le=1)]
    pairs: int


class Results(BaseModel):
    """The parts of results.json that are shown."""

    model_config = ConfigDict(frozen=True)

    name: str = ""
    command: str = ""
    seed: int | None = None
    versions: dict[str, str] = {}
    machine: str | Json = ""
    date: str = ""
    seconds: float | None = None
    retrieval: dict[str, RetrievalScores] = {}
    sentences: dict[str, Compared] = {}
    training_seconds: float | None = None
    """Of steps alone, without reading, caching and scoring."""
    classification: dict[str, Classified] = {}
    zero_shot: dict[str, Classified] = {}
    """What the encoder scored as it was."""
    harmonic_mean: Share | None = None
    """Of the accuracies on base and novel classes."""
    learned: int | None = None
    """Numbers that training changed."""
    cost: Json = {}


@dataclass(frozen=True)
class Run:
    """One run folder, read."""

    folder: Path
    config: Values
    results: Results
    steps: Sequence[Values]
    """Lines of log.jsonl that carry a loss, in the order of their steps."""
    epochs: Sequence[Values]
    """Lines of log.jsonl that carry figures on the development set."""
    samples: Samples | None

    @property
    def name(self) -> str:
        """What the run calls itself, or its folder's name."""
        return self.results.name or self.folder.resolve().name


@dataclass(frozen=True)
class Group:
    """Runs that differ by nothing but their seed."""

    name: str
    runs: Sequence[Run]

    @property
    def seeds(self) -> list[int]:
        """The seeds that are known."""
        return [run.results.seed for run in self.runs if run.results.seed is not None]


def read_run(folder: Path) -> Run:
    """A run folder, finished or not; samples may be missing.

    Raises:
        FileError: it is no run folder, or a file in it is damaged or was altered; the message names the file.
    """
    if not folder.is_dir():
        raise FileError(
            f"{folder}: no such run folder.{nearby(folder)} Give the folder that training wrote with --out."
        )
    results, log = folder / "results.json", folder / "log.jsonl"
    if not results.is_file() and not log.is_file():
        raise FileError(f"{folder}: not a run folder, it holds neither results.json nor log.jsonl.")
    if results.is_file():
        measured = as_checked(Results, read_results(folder), results)
    else:
        check_truth(folder)
        measured = Results()
    config = read_checked(Json, folder / "config.json") if (folder / "config.json").is_file() else {}
    lines = read_log(log) if log.is_file() else []
    return Run(
        folder=folder,
        config=config,
        results=measured if measured.seed is not None else measured.model_copy(update={"seed": config.get("seed")}),
        steps=_last_of_each_step(line for line in lines if "loss" in line),
        epochs=_last_of_each_step(line for line in lines if "dev" in line),
        samples=samples.read(folder / "samples") if (folder / "samples").is_dir() else None,
    )


def group(runs: Sequence[Run]) -> list[Group]:
    """Runs of one experiment put together, in the order in which the experiments first appear; no two names alike."""
    same: dict[str, list[Run]] = {}
    for run in runs:
        settings = {key: value for key, value in run.config.items() if key not in UNLIKE}
        # Without a config nothing shows that two runs are alike, but the name that they give themselves.
        key = json.dumps(settings, sort_keys=True, default=str) if settings else run.results.name or str(run.folder)
        same.setdefault(key, []).append(run)
    named = [(_common_name([run.name for run in members]), members) for members in same.values()]
    names = [name for name, _ in named]
    folders = [(name, members[0].folder.name) for name, members in named]

    def distinct_name(name: str, folder: Path) -> str:
        if names.count(name) == 1:
            return name
        return f"{name} ({folder.name if folders.count((name, folder.name)) == 1 else folder})"

    return [Group(distinct_name(name, members[0].folder), members) for name, members in named]


def _common_name(names: Sequence[str]) -> str:
    """What the names share, without what numbers the seeds: "k6-seed0" and "k6-seed1" are "k6"."""
    if len(names) == 1:
        return names[0]
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return re.sub(r"[-_ .]*(seed|s)?[-_ .]*$", "", "".join(letters[0] for letters in shared)) or names[0]


def _last_of_each_step(lines: Iterable[Values]) -> list[Values]:
    """In order; a run that was killed and resumed may have logged a step twice, and the last one counts."""
    return [line for _, line in sorted({line["step"]: line for line in lines}.items())]
