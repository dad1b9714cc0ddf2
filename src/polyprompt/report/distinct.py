"""Results under names that differ where they cannot be compared: other settings, other pictures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from polyprompt.data import catalog
from polyprompt.disk.files import digest
from polyprompt.methods import BASELINES
from polyprompt.report.averages import label, set_label
from polyprompt.runs.cells import Cell, Result

PLACES = {"name", "encoder", "data", "test", "also", "seed", "shots", "max_bad", "cache_gb"}
"""Settings in which results of one row may differ."""
STEPS = {
    "epochs", "steps", "batch", "rate", "optimizer", "weight_decay", "eps", "schedule", "terms", "budget", "precision",
}  # fmt: skip
"""What training alone reads: results of a method that takes no step may differ in it, too."""
LONGEST = 40
"""Letters of a setting's value in a name."""
USUAL = "a photo of a {}."
"""The prompt of sets that have none of their own."""
OWN = {"test", "base", "novel"}
"""What is scored of a cell's own set; other sets stand under their sources."""


def with_distinct_names(results: Sequence[Result]) -> list[Result]:
    """The same results; other weights are another encoder, other settings another row, other pictures another set."""
    return _with_distinct_sets(_with_distinct_methods(_with_distinct_encoders(results)))


def _with_distinct_methods(results: Sequence[Result]) -> list[Result]:
    """Rows that tables would call alike have the settings behind their names in which they differ."""
    rows = [(_row(one.cell), _told(one)) for one in results]
    kinds: dict[tuple[object, ...], dict[str, dict[str, str]]] = {}
    for one, (row, told) in zip(results, rows, strict=True):
        words = {"descriptions": str(one.cell.settings["descriptions"])} if told.get("descriptions") else {}
        kinds.setdefault(row, {}).setdefault(str(told), told | words)
    marks = {row: dict(zip(some, _marks(list(some.values())), strict=True)) for row, some in kinds.items()}
    return [
        replace(one, cell=replace(one.cell, method=one.cell.method + marks[row][str(told)]))
        for one, (row, told) in zip(results, rows, strict=True)
    ]


def _row(cell: Cell) -> tuple[object, ...]:
    """Results that should agree in their settings; published ones depend on the shots."""
    return cell.protocol, cell.encoder, cell.shots, cell.method


def _told(result: Result) -> dict[str, str]:
    """The settings that tell a row from others, in order, called as `--set` does; descriptions by what is in them."""
    method = result.cell.settings.get("method")
    method = {"name": method} if isinstance(method, str) else dict(method) if isinstance(method, Mapping) else {}
    if own := catalog.prompt(result.cell.data):  # each set's own prompt is one setting
        usual = {own: USUAL, str([own]): [USUAL]}
        method = {key: usual.get(str(value), value) for key, value in method.items()}
    free = PLACES | STEPS if method.get("name") in BASELINES else PLACES
    words = {key: value for key, value in result.cell.inputs.items() if key == "descriptions"}  # not where they lie
    settings = {**result.cell.settings, "method": method, **words}
    return dict(sorted(_flat({key: value for key, value in settings.items() if key not in free})))


def _flat(settings: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _marks(kinds: Sequence[Mapping[str, str]]) -> list[str]:
    """What each has otherwise than others, to stand behind their name; numbered where that does not tell them apart."""
    if len(kinds) < 2:
        return [""]
    keys = sorted({key for one in kinds for key in one})
    differ = [key for key in keys if len({one.get(key, "null") for one in kinds}) > 1]
    marks = [", ".join(f"{key}={_cut(one.get(key, 'null'))}" for key in differ) for one in kinds]
    alike = len(set(marks)) < len(marks)
    return [f" ({mark or 'settings'}{f' {number}' * alike})" for number, mark in enumerate(marks, 1)]


def _cut(text: str) -> str:
    text = "none" if text == "null" else text  # as --set takes it
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _with_distinct_sets(results: Sequence[Result]) -> list[Result]:
    """Sets that tables would call alike are numbered, by what was read of them."""
    kinds: dict[tuple[str, str], dict[str, int]] = {}
    for one in results:
        numbers = kinds.setdefault((one.cell.protocol, set_label(one.cell.data)), {})
        numbers.setdefault(_pictures(one), len(numbers) + 1)
    return [
        _marked(one, f" (pictures {numbers[_pictures(one)]})")
        if len(numbers := kinds[one.cell.protocol, set_label(one.cell.data)]) > 1
        else one
        for one in results
    ]


def set_otherwise(results: Sequence[Result]) -> list[str]:
    """The methods that have other settings on one encoder than on another."""
    kinds: dict[str, dict[str, set[str]]] = {}
    for one in results:
        kinds.setdefault(one.cell.method, {}).setdefault(one.cell.encoder, set()).add(str(_told(one)))
    return [method for method, by_encoder in kinds.items() if len(set(map(frozenset, by_encoder.values()))) > 1]


def _with_distinct_encoders(results: Sequence[Result]) -> list[Result]:
    """Encoders that tables would call alike have as much of their paths as tells them apart, else a number."""
    places: dict[str, dict[str, str]] = {}
    for one in results:
        places.setdefault(label(one.cell.encoder), {}).setdefault(_weights(one), one.cell.encoder)
    names = {called: dict(zip(some, _ends(list(some.values())), strict=True)) for called, some in places.items()}
    return [
        replace(one, cell=replace(one.cell, encoder=names[called][_weights(one)]))
        if len(names[called := label(one.cell.encoder)]) > 1
        else one
        for one in results
    ]


def _weights(result: Result) -> str:
    return result.cell.inputs.get("encoder", "")


def _ends(places: Sequence[str]) -> list[str]:
    parts = [Path(place).parts for place in places]
    for length in range(2, max(map(len, parts)) + 1):
        ends = ["/".join(("…", *one[-length:])) for one in parts]
        if len(set(ends)) == len(ends):
            return ends
    return [f"{place} (weights {number})" for number, place in enumerate(places, 1)]


def _marked(result: Result, mark: str) -> Result:
    """The same with a mark behind the names of all sets that it tells of."""
    cell, figures = result.cell, dict(result.figures)
    if test := cell.settings.get("test"):
        cell = replace(cell, settings={**cell.settings, "test": _source_marked(str(test), mark)})
    if isinstance(scored := figures.get("classification"), Mapping):
        figures["classification"] = {
            part if part in OWN else _source_marked(part, mark): scores for part, scores in scored.items()
        }
    return replace(result, figures=figures, cell=replace(cell, data=_source_marked(cell.data, mark)))


def _source_marked(source: str, mark: str) -> str:
    head, at, folder = source.partition("@")
    return f"{head}{mark}{at}{folder}"


def _pictures(result: Result) -> str:
    others = {"encoder", "descriptions"}
    return digest(str(sorted((key, value) for key, value in result.cell.inputs.items() if key not in others)))
