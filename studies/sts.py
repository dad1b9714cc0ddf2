"""CAMPE on sentences alone: K prompts against other readouts of the same LLM on STS-B, and on the STS sets zero-shot.

Every run is `polyprompt.runs.align` on STS-B's training pairs with the same LLM, steps and loss (CoSENT); a finished
run leaves one JSON file in results/sts and is not run again. Rates are chosen on dev, each readout's from the same
grid; test is scored by the runs of `final` alone, once, and with it the test pairs of the other six sets, which nobody
trained on. The minutes are a guess for two cores that do nothing else:

    python studies/sts.py tune        rates, on dev: 12 runs or a few more, 30 minutes
    python studies/sts.py final       three seeds at the chosen rates, on test: 12 runs, 45 minutes
    python studies/sts.py zero_shot   the models of studies/flickr8k.py, which saw no pair, on all seven: 20 minutes

STS-B and the others are expected in data/sts: stsb.tsv and sts_suite.tsv.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from kept import keep
from tuning import best_settings, try_rates

from polyprompt.progress import say
from polyprompt.runs.align import AlignSettings, align
from polyprompt.runs.evaluate import evaluate
from polyprompt.runs.folder import read_results
from polyprompt.settings import checked

ROOT = "data/sts"
TRAINED_ON = f"stsb@{ROOT}"
OTHERS = tuple(f"{name}@{ROOT}" for name in ("sts12", "sts13", "sts14", "sts15", "sts16", "sickr"))
RUNS, RESULTS = Path("runs/sts"), Path(__file__).parent / "results" / "sts"
CAPTIONED = Path("runs/flickr8k/best/final")
"""The runs whose models `zero_shot` scores, as studies/flickr8k.py leaves them."""

COMMON: dict[str, Any] = {"data": TRAINED_ON, "dev_split": None, "batch": 64, "precision": "bf16", "epochs": 4}
SENTENCE = {"template": "the {} of the sentence means:", "negated_template": "the {} of the sentence does NOT mean:"}
"""The paper's prompt, with a word for what it stands behind here; K = 6 and K = 1 have the same."""
READOUTS: dict[str, dict[str, Any]] = {
    "prompts-6": {"prompts": 6, **SENTENCE},
    "prompts-1": {"prompts": 1, **SENTENCE},
    "last": {"readout": "last"},
    "mean": {"readout": "mean"},
}
RATES = (5e-4, 1e-3, 2e-3)
"""Of what is new; the pretrained block learns at a tenth of it."""
SEEDS = (0, 1, 2)


def tune() -> None:
    """Every readout at every rate, on dev."""
    for name in READOUTS:
        try_rates(partial(tuned, name), partial(best_rate, name), RATES, step=2)


def tuned(name: str, rate: float) -> None:
    """One run of `tune`."""
    once(f"tune/{name}/{rate:g}", name, rate=rate, tower_rate=rate / 10)


def final() -> None:
    """Every readout at its own best rate, three seeds, scored on test."""
    for seed in SEEDS:
        for name in READOUTS:
            rate = best_rate(name)
            given = {"seed": seed, "rate": rate, "tower_rate": rate / 10, "test_split": "test"}
            once(f"final/{name}/{seed}", name, others=OTHERS, **given)


def zero_shot() -> None:
    """Models that were made on captioned pictures, on the test pairs of all seven sets."""
    for run in sorted(CAPTIONED.glob("*/*/results.json")):
        kept = RESULTS / "zero-shot" / run.parent.relative_to(CAPTIONED) / "results.json"
        if not kept.exists():
            found = scored(run.parent, (TRAINED_ON, *OTHERS))
            keep(kept, found | {"command": "python studies/sts.py zero_shot"})  # not that of its training


def once(name: str, readout: str, others: tuple[str, ...] = (), **values: Any) -> None:
    """A run, and its scores on other sets, made now or earlier."""
    kept = RESULTS / name / "results.json"
    if kept.exists():
        return
    say(f"Run {name}")
    given = {"test_split": "dev", "name": name.split("/")[1], "text": READOUTS[readout]} | values
    align(checked(AlignSettings, COMMON | given), RUNS / name, resume=True)
    keep(kept, scored(RUNS / name, others))


def scored(run: Path, sets: tuple[str, ...]) -> dict[str, Any]:
    """A run's results with its scores on the test pairs of these sets; those that it has are not made again."""
    for data in sets:
        if f"{data} test" not in read_results(run).get("sentences", {}):
            evaluate(run, data, "test")
    return read_results(run)


def best_rate(name: str) -> float:
    """The rate of the best of the runs on dev."""
    return best_settings(RESULTS / "tune" / name, spearman)["rate"]


def spearman(results: dict[str, Any]) -> float:
    """Of the first set that was scored: dev, in the runs that rates are chosen by."""
    return next(iter(results["sentences"].values()))["spearman"]


if __name__ == "__main__":
    stages = {part.__name__: part for part in (tune, final, zero_shot)}
    stages[sys.argv[1]]()
