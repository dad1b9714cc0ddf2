"""Video-text retrieval on a subset of MSR-VTT: K = 6 prompts against one prompt and the last token.

Every run is `polyprompt.runs.align` on the subset's 1,690 training clips, from the run of studies/flickr8k.py with the
same readout and seed, and once from scratch; a finished run leaves one JSON file in results/msrvtt and is not run
again. Rates are chosen on the 152 dev clips with seed 0, each readout's from the same grid; test is scored by `final`
and `scratch` alone. A clip is six frames (of four some come twice) and the mean of their vectors. Frames' tokens are
kept by the first run. The minutes are a guess for two cores that do nothing else:

    python studies/msrvtt.py tune       rates, on dev: 9 runs or a few more, 40 minutes, of which the cache takes 15
    python studies/msrvtt.py final      three seeds at the chosen rates, on test: 9 runs, 45 minutes
    python studies/msrvtt.py scratch    one seed, from nothing at the rates of studies/flickr8k.py: 3 runs, 15 minutes

The subset is expected in data/msrvtt: videos/ and captions.tsv with a split column; the models that runs start from in
runs/flickr8k/best/final.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from kept import keep
from tuning import best_settings, mean_recall, try_rates

from polyprompt.disk.files import read_json
from polyprompt.progress import say
from polyprompt.runs.align import AlignSettings, align
from polyprompt.runs.folder import read_results
from polyprompt.settings import checked

DATA, STARTS = "data/msrvtt", Path("runs/flickr8k/best/final")
RUNS, RESULTS = Path("runs/msrvtt"), Path(__file__).parent / "results" / "msrvtt"
COMMON: dict[str, Any] = {
    "data": DATA, "dev_split": None, "batch": 128, "precision": "bf16", "cache_gb": 40.0, "epochs": 6,
}  # fmt: skip
IMAGE = {"frames": 6}
"""Beside what the run that is started from has of the image side."""
READOUTS = ("prompts-6", "prompts-1", "last")
RATES = (1e-4, 3e-4, 1e-3)
"""Of what was new on Flickr8k; the pretrained block learns at a tenth of it."""
SEEDS = (0, 1, 2)


def tune() -> None:
    """Every readout at every rate, on dev."""
    for name in READOUTS:
        try_rates(partial(tuned, name), partial(best_rate, name), RATES, step=3)


def tuned(name: str, rate: float) -> None:
    """One run of `tune`."""
    once(f"tune/{name}/{rate:g}", name, rate=rate, tower_rate=rate / 10)


def final() -> None:
    """Every readout at its own best rate, three seeds, scored on test."""
    for seed in SEEDS:
        for name in READOUTS:
            rate = best_rate(name)
            once(f"final/{name}/{seed}", name, seed, rate=rate, tower_rate=rate / 10, test_split="test")


def scratch() -> None:
    """One seed without Flickr8k, as long again as both together."""
    for name in READOUTS:
        once(f"scratch/{name}/0", name, start_from=None, epochs=3 * COMMON["epochs"], test_split="test")


def once(name: str, readout: str, seed: int = 0, **values: Any) -> None:
    """A run, made now or earlier, with the towers, sides and losses of the one that it starts from."""
    kept = RESULTS / name / "results.json"
    if kept.exists():
        return
    say(f"Run {name}")
    before = read_json(STARTS / readout / str(seed) / "config.json")
    align(checked(AlignSettings, settings_of(before, readout, seed, **values)), RUNS / name, resume=True)
    keep(kept, read_results(RUNS / name))


def settings_of(before: dict[str, Any], readout: str, seed: int, **values: Any) -> dict[str, Any]:
    """A run's settings, from those of the run on Flickr8k."""
    same = {part: before[part] for part in ("text", "loss", "dim", "rate", "tower_rate")}
    start = {"name": readout, "seed": seed, "start_from": str(STARTS / readout / str(seed)), "test_split": "dev"}
    return same | COMMON | {"image": before["image"] | IMAGE} | start | values


def best_rate(name: str) -> float:
    """The rate of the best of the runs on dev."""
    return best_settings(RESULTS / "tune" / name, mean_recall)["rate"]


if __name__ == "__main__":
    stages = {part.__name__: part for part in (tune, final, scratch)}
    stages[sys.argv[1]]()
