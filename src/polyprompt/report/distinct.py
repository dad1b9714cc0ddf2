"""Results under names that differ where they cannot be compared: other settings, other pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from polyprompt.data import catalog
from polyprompt.disk.files import digest
from polyprompt.report.averages import label, set_label
from polyprompt.runs.cells import Result

PLACES = {"name", "encoder", "data", "test", "also", "seed", "shots"}
"""Settings in which results of one row may differ."""
USUAL = "a photo of a {}."
"""The prompt of sets that have none of their own."""
OWN = {"test", "base", "novel"}
"""What is scored of a cell's own set; other sets stand under their sources."""


def with_distinct_names(results: Sequence[Result]) -> list[Result]:
    """The same results; other weights are another encoder, other settings another row, other pictures another set."""
    renamed = _with_distinct_encoders(results)
    for what, kind, decides in (("method", "settings", _settings), ("data", "pictures", _pictures)):
        kinds: dict[tuple[object, ...], dict[str, int]] = {}
        for one in renamed:
            numbers = kinds.setdefault(_group(one, what), {})
            numbers.setdefault(decides(one), len(numbers) + 1)
        for at, one in enumerate(renamed):
            numbers = kinds[_group(one, what)]
            if len(numbers) > 1:
                renamed[at] = _marked(one, what, f" ({kind} {numbers[decides(one)]})")
    return renamed


def set_otherwise(results: Sequence[Result]) -> list[str]:
    """The methods that have other settings on one encoder than on another."""
    kinds: dict[str, dict[str, set[str]]] = {}
    for one in results:
        kinds.setdefault(one.cell.method, {}).setdefault(one.cell.encoder, set()).add(_settings(one))
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


def _group(result: Result, what: str) -> tuple[object, ...]:
    """Results that should agree: of one method, whose published settings depend on the shots, or of sets that tables
    call alike, wherever they lie."""
    cell = result.cell
    if what == "data":
        return cell.protocol, set_label(cell.data)
    return cell.protocol, cell.encoder, cell.shots, cell.method


def _marked(result: Result, what: str, mark: str) -> Result:
    """The same with a mark behind the name of its method, or of all sets that it tells of."""
    cell, figures = result.cell, dict(result.figures)
    if what == "method":
        return replace(result, cell=replace(cell, method=cell.method + mark))
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


def _settings(result: Result) -> str:
    words = {key: value for key, value in result.cell.inputs.items() if key == "descriptions"}  # not where they lie
    settings = {**result.cell.settings, **words}
    own, method = catalog.prompt(result.cell.data), settings.get("method")
    if own and isinstance(method, Mapping):  # each set's own prompt is one setting
        settings["method"] = {
            key: USUAL if value == own else [USUAL] if value == [own] else value for key, value in method.items()
        }
    return digest(str(sorted((key, str(value)) for key, value in settings.items() if key not in PLACES)))


def _pictures(result: Result) -> str:
    others = {"encoder", "descriptions"}
    return digest(str(sorted((key, value) for key, value in result.cell.inputs.items() if key not in others)))
