"""DomainBed's choice among settings of a method: its "training-domain validation set" (arXiv:2007.01434, section 3.2).

The run counts whose mean accuracy on the sources' held-out pictures is best, and of it the step that is; `adapt` has
chosen the epoch already. Of equally good runs the last one counts, as in DomainBed's own program, of equally good
epochs the first one.
"""

from collections.abc import Sequence
from dataclasses import replace

from polyprompt.runs.cells import Result

CHOSEN = "{}, chosen on the sources"
"""What a row of such runs is called."""


def chosen(results: Sequence[Result]) -> list[Result]:
    """For each method that was run with several settings: the run that its sources prefer, by target and seed."""
    tried: dict[tuple[object, ...], list[Result]] = {}
    for one in results:
        if "selected" in one.figures:
            tried.setdefault(_same(one), []).append(one)
    return [_called(max(reversed(some), key=_on_sources)) for some in tried.values() if len(some) > 1]


def _same(one: Result) -> tuple[object, ...]:
    cell = one.cell
    return _name(one), cell.encoder, cell.data, str(cell.settings.get("test")), cell.shots, cell.seed


def _name(one: Result) -> str:
    method = one.cell.settings["method"]
    assert isinstance(method, dict)
    return method["name"]


def _on_sources(one: Result) -> float:
    selected = one.figures["selected"]
    assert isinstance(selected, dict)
    return selected["accuracy"]


def _called(one: Result) -> Result:
    return replace(one, cell=replace(one.cell, method=CHOSEN.format(_name(one))))
