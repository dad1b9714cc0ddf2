"""MmAP on PACS: one adapter that learns all four domains as tasks, against one a domain.

Four tasks share prompts and have as many of their own; alone, a domain has one set of prompts. Pictures (4 a class) and
epochs are the same for both, the encoder is that of the grids. Both rates were chosen on the same pictures, those of
studies/grids.py: there for one task of all their classes, here for four tasks of a quarter each. A finished run leaves
one JSON file in results/task-rates or results/tasks and is not run again:

    python studies/tasks.py

PACS is expected in data/pacs, Caltech101 in data/caltech101.
"""

from pathlib import Path
from typing import Any

from grids import CALTECH, DOMAINS, ENCODER, FACTORS, SHORT, SLOWER, chosen, method
from kept import RESULTS, keep
from tuning import best_settings, mean_accuracy, try_rates, write_pool

from polyprompt.progress import say
from polyprompt.runs.adapt import adapt
from polyprompt.runs.folder import read_results
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import checked

RUNS, RATES = Path("runs"), Path("task-rates") / "together"
POOLS = [RUNS / f"quarter-{number}.csv" for number in range(4)]
SEEDS = (1, 2, 3)


def main() -> None:
    """The rate of the joint run; then all domains together, and each alone, with every seed."""
    for number, pool in enumerate(POOLS):
        write_pool(pool, CALTECH, range(5 * number, 5 * number + 5))
    try_rates(tried, best_rate, [rate_at(factor) for factor in FACTORS], step=10)
    for seed in SEEDS:
        once(Path("tasks/together") / str(seed), seed, values(*DOMAINS, rate=best_rate()))
        for domain in DOMAINS:
            once(Path("tasks") / Path(domain).name / str(seed), seed, values(domain, rate=rate_at(chosen("mmap"))))


def tried(rate: float) -> None:
    """The joint run at one rate."""
    once(RATES / f"{rate:g}", 0, values(*map(str, POOLS), rate=rate))


def best_rate() -> float:
    """The best of those."""
    return best_settings(RESULTS / RATES, mean_accuracy)["rate"]


def rate_at(factor: float) -> float:
    """MmAP's at a factor of studies/grids.py."""
    return method("mmap", factor, "pacs")["training"]["rate"]


def values(*data: str, rate: float) -> dict[str, Any]:
    """The settings of a run: one task a set of pictures."""
    first, *others = data
    common = {"encoder": ENCODER, "shots": 4, **SHORT, "method": {"name": "mmap", **SLOWER["mmap"]}}
    return common | {"data": first, "task": others, "rate": rate}


def once(name: Path, seed: int, values: dict[str, Any]) -> None:
    """A run, unless it is kept."""
    kept = RESULTS / name / "results.json"
    if not kept.exists():
        say(f"Run {name}")
        adapt(checked(AdaptSettings, values | {"name": name.parts[1], "seed": seed}), RUNS / name, resume=True)
        keep(kept, read_results(RUNS / name))


if __name__ == "__main__":
    main()
