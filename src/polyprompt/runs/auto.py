"""`adapt --method auto`: a few methods tried on held-out training pictures; the best is then trained on all of them.

A quarter of each class's training pictures is held out. Half of the time budget is for the trials, in equal shares of
what is left; a method whose share is over is scored as it stands. A method that does not fit the encoder, the data or
the classes to be scored is passed over, and the table says why. Zero-shot comes first, and what is tried later is
chosen only if it is right more often; of equals the earlier stays. Test pictures play no part.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from polyprompt.data.fewshot import hold_out
from polyprompt.data.items import Labelled
from polyprompt.disk.files import make_folder
from polyprompt.disk.sealed import is_sealed, read_sealed, write_sealed
from polyprompt.errors import ConfigError, DataError, TowerError, TrainingError
from polyprompt.methods import CANDIDATES
from polyprompt.progress import say
from polyprompt.runs.folder import INPUTS, TRIALS
from polyprompt.runs.processes import is_main_process, on_main_process
from polyprompt.runs.resolve import resolved
from polyprompt.runs.settings import AdaptSettings
from polyprompt.runs.training import evaluate, train
from polyprompt.runs.untrained import untrained
from polyprompt.towers.base import DualEncoder
from polyprompt.values import Json, Values

HELD_OUT = 0.25
"""Share of each class's training pictures."""
FOR_TRIALS = 0.5
"""Share of the time."""


def choose(
    settings: AdaptSettings,
    drawn: Labelled,
    tests: Mapping[str, Labelled],
    encoder: DualEncoder,
    folder: Path,
    *,
    resume: bool,
) -> tuple[AdaptSettings, Json]:
    """The settings of the method that does best, and the table of all, for results.json.

    Args:
        settings: with auto as method, and a budget.
        drawn: the training pictures.
        tests: what will be scored; a method has to know its classes.
        folder: of the run; what was tried is noted in `trials/`.
        resume: go on with a run that was stopped: what was tried is not tried again.

    Raises:
        DataError: a class has a single picture, so none can be held out.
    """
    kept, held = hold_out(drawn, HELD_OUT)
    trials = make_folder(folder / TRIALS)
    candidates: list[Json] = []
    for number, name in enumerate(CANDIDATES):
        note = trials / f"{name}.json"
        if not (resume and note.exists()):
            spent = sum(one.get("seconds", 0.0) for one in candidates)
            share = (FOR_TRIALS * (settings.budget or 0.0) - spent) / (len(CANDIDATES) - number)
            tried = _tried(name, settings, (kept, held), tests, encoder, trials / name, max(share, 0.001), resume)
            on_main_process(lambda note=note, tried=tried: write_sealed(note, tried))
            say(f"auto: {line(tried)}")
        candidates.append(read_sealed(note, "Remove it, and it is tried again.", sealed=is_sealed(folder / INPUTS)))
        if is_main_process():
            shutil.rmtree(trials / name, ignore_errors=True)
    best = max((one for one in candidates if "accuracy" in one), key=lambda one: one["accuracy"])  # the first of equals
    chosen = resolved(settings.model_copy(update={"method": {"name": best["method"]}}))
    table = {"chosen": best["method"], "held_out": len(held.pictures), "candidates": candidates}
    return chosen, {"auto": table, "method": chosen.method}


def _tried(
    name: str,
    settings: AdaptSettings,
    data: tuple[Labelled, Labelled],
    tests: Mapping[str, Labelled],
    encoder: DualEncoder,
    folder: Path,
    seconds: float,
    resume: bool,
) -> Json:
    """What a method gives on held-out pictures, or why it cannot be tried."""
    (kept, held), began = data, time.perf_counter()
    try:
        of_method = resolved(settings.model_copy(update={"method": {"name": name}, "budget": seconds}))
        method = untrained(of_method, encoder, kept.class_names, keep=bool(of_method.cache_gb), twins=kept.twins)
        for one in tests.values():
            method.for_classes(one.class_names, twins=one.twins)
        facts = train([(method, kept)], of_method, folder, resume=resume)
    except (ConfigError, DataError, TowerError, TrainingError) as error:
        if name == CANDIDATES[0]:  # then nothing can be done with these classes
            raise
        return {"method": name, "why_not": str(error)}
    return {
        "method": name,
        "accuracy": evaluate(method, held, of_method.cache_gb)["accuracy"],
        "learned": sum(method.adapter.numbers().values()),
        "ended_early": "ended_early" in facts,
        "seconds": round(time.perf_counter() - began, 2),
    }


def line(candidate: Values) -> str:
    """A row of the table."""
    if "why_not" in candidate:
        return f"{candidate['method']:14}  not tried: {candidate['why_not']}"
    early = ", its time was over" if candidate["ended_early"] else ""
    return (
        f"{candidate['method']:14}  accuracy {100 * candidate['accuracy']:5.1f} on held-out training pictures, "
        f"{candidate['learned']:,} numbers learned, {candidate['seconds']:.0f} s{early}"
    )
