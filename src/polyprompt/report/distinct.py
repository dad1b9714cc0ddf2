"""Results under names that differ where they cannot be compared: other settings, other pictures."""

from collections.abc import Sequence
from dataclasses import replace

from polyprompt.disk.files import digest
from polyprompt.report.averages import set_label
from polyprompt.runs.cells import Result

PLACES = {"name", "encoder", "data", "test", "also", "seed", "shots"}
"""Settings in which results of one row may differ."""


def with_distinct_names(results: Sequence[Result]) -> list[Result]:
    """The same results; one method with two groups of settings is two rows, one set with other pictures two sets."""
    renamed = list(results)
    for what, label, decides in (("method", "settings", _settings), ("data", "pictures", _pictures)):
        kinds: dict[tuple[object, ...], dict[str, int]] = {}
        for one in renamed:
            numbers = kinds.setdefault(_group(one, what), {})
            numbers.setdefault(decides(one), len(numbers) + 1)
        for at, one in enumerate(renamed):
            numbers = kinds[_group(one, what)]
            if len(numbers) > 1:
                name = f"{getattr(one.cell, what)} ({label} {numbers[decides(one)]})"
                renamed[at] = replace(one, cell=replace(one.cell, **{what: name}))
    return renamed


def _group(result: Result, what: str) -> tuple[object, ...]:
    """Results that should agree: of one method, whose published settings depend on the shots, or of sets that tables
    call alike, wherever they lie."""
    cell = result.cell
    if what == "data":
        return cell.protocol, cell.encoder, set_label(cell.data)
    return cell.protocol, cell.encoder, cell.shots, cell.method


def _settings(result: Result) -> str:
    words = {key: value for key, value in result.cell.inputs.items() if key == "descriptions"}  # not where they lie
    settings = {**result.cell.settings, **words}
    return digest(str(sorted((key, str(value)) for key, value in settings.items() if key not in PLACES)))


def _pictures(result: Result) -> str:
    others = {"encoder", "descriptions"}
    return digest(str(sorted((key, value) for key, value in result.cell.inputs.items() if key not in others)))
