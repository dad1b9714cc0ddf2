"""The results of a grid on disk: one file a cell, written once, called by the hash of all that decides its figures.

FOLDER/cells/HASH.json holds what the cell is, its figures, and a hash over both. It is never changed: figures that are
meant to move raise `FIGURES`, and then the hash is another one.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from polyprompt.disk.files import digest, json_text, read_bytes, read_json, write_text
from polyprompt.errors import FileError
from polyprompt.progress import say

FIGURES = 1
"""Raised by hand with every change that means to move figures: results from before it are then no results."""
CELLS, FAILURES = "cells", "failures"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One result to be: a method on an encoder and a set of pictures, by a protocol, with a seed."""

    protocol: str
    task: str
    """What is done: classify, retrieve, compare."""
    method: str
    """As tables call it."""
    encoder: str
    data: str
    shots: int | None = None
    seed: int | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    """What the task runs with, everything said."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the encoder, of every set of pictures, and of descriptions in a file."""

    @property
    def name(self) -> str:
        """The hash of all that decides its figures: what it is called and where things lie does not.

        Which pictures may be left out does not either: which ones were, the fingerprints say.
        """
        places = {"name", "encoder", "data", "test", "also", "max_bad"} | (self.inputs.keys() & {"descriptions"})
        settings = {key: value for key, value in self.settings.items() if key not in places}
        return digest(_plain([FIGURES, self.protocol, self.task, settings, dict(self.inputs)]))[:32]


@dataclass(frozen=True)
class Result:
    """A cell's figures, and how they came about."""

    cell: Cell
    figures: Mapping[str, object]
    seconds: float
    machine: str
    date: str


def write_result(path: Path, result: Result) -> None:
    """Writes a result, whole or not at all.

    Raises:
        FileError: a figure is no number, or it cannot be written.
    """
    write_text(path, _text(path, result, FIGURES))


def read_result(path: Path) -> Result:
    """A result, checked.

    Raises:
        FileError: it is damaged or was altered, or is not one.
    """
    written = read_bytes(path)
    try:
        content = json.loads(written)
        stated, version = content.pop("sha256"), content.pop("figures_version")
        cell = Cell(**content.pop("cell"))
        result = Result(cell, **content)
        as_written = stated == _hash(asdict(result)) and written == _text(path, result, version).encode()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):  # or no JSON at all
        raise FileError(
            f"{path}: damaged, this is no result of a grid. Remove it; the next run makes it again."
        ) from None
    if not as_written or (version == FIGURES) != (path.stem == cell.name):  # a cell's name says the version, too
        raise FileError(f"{path}: damaged or altered, it has not the hash that it names. Remove it and run again.")
    return result


def results_in(folder: Path) -> list[Result]:
    """All results of a grid that are of this figures version; others are no results, and are told.

    Raises:
        FileError: there is no grid here, or a result is damaged.
    """
    if not (folder / CELLS).is_dir():
        raise FileError(f"{folder}: not the folder of a grid, it has no {CELLS}/. Give the one that --out named.")
    read = [(path, read_result(path)) for path in sorted((folder / CELLS).glob("[!.]*.json"))]
    results = [result for path, result in read if path.stem == result.cell.name]
    if other := len(read) - len(results):
        which = "1 result is" if other == 1 else f"{other} results are"
        say(f"{folder}: {which} of another figures version and left out; the same command makes what is missing.")
    return results


def done_in(folder: Path) -> set[str]:
    """The names of the cells that have a result."""
    place = folder / CELLS
    return {name.removesuffix(".json") for name in os.listdir(place) if name[0] != "."} if place.is_dir() else set()


def failed_in(folder: Path) -> list[str]:
    """Which cells failed when they were tried last and have no result, and why, in a line each.

    Raises:
        FileError: a note of a failure is damaged.
    """
    done, lines = done_in(folder), []
    for path in sorted((folder / FAILURES).glob("[!.]*.json")):
        noted = {} if path.stem in done else read_json(path)
        if isinstance(noted, dict) and {"cell", "error"} <= noted.keys():
            lines.append(f"{noted['cell']}: {noted['error']}")
    return sorted(lines)


def _text(path: Path, result: Result, version: int) -> str:
    content = asdict(result)
    return json_text(path, content | {"figures_version": version, "sha256": _hash(content)})


def _hash(content: Mapping[str, object]) -> str:
    return digest(_plain(content))


def _plain(value: Mapping[str, object] | Sequence[object]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
