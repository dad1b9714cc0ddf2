"""MmAP on PACS: one adapter that learns all four domains as tasks, against one a domain.

Four tasks share prompts and have as many of their own; alone, a domain has one set of prompts. Pictures (4 a class),
epochs and rate are the same for both, the rate as studies/grids.py chose it; the encoder is that of its grids. A
finished run leaves one JSON file in results/tasks and is not run again:

    python studies/tasks.py

PACS is expected in data/pacs.
"""

from pathlib import Path
from typing import Any

from grids import DOMAINS, ENCODER, SHORT, chosen, method
from kept import keep

from polyprompt.progress import say
from polyprompt.runs.adapt import adapt
from polyprompt.runs.folder import read_results
from polyprompt.runs.settings import AdaptSettings
from polyprompt.settings import checked

RUNS, RESULTS = Path("runs/tasks"), Path(__file__).parent / "results" / "tasks"
SEEDS = (1, 2, 3)


def main() -> None:
    """All domains together, then each alone, with every seed."""
    for seed in SEEDS:
        for name, values in runs().items():
            once(name, seed, values)


def runs() -> dict[str, dict[str, Any]]:
    """The settings of the runs of a seed, by name."""
    settings = method("mmap", chosen("mmap"), "pacs")
    common = {"encoder": ENCODER, "shots": 4, **SHORT, **settings.pop("training"), "method": settings}
    alone = {Path(domain).name: common | {"data": domain} for domain in DOMAINS}
    return {"together": common | {"data": DOMAINS[0], "task": DOMAINS[1:]}} | alone


def once(name: str, seed: int, values: dict[str, Any]) -> None:
    """A run, unless it is kept."""
    kept = RESULTS / name / str(seed) / "results.json"
    if not kept.exists():
        say(f"Run {name}, seed {seed}")
        run = RUNS / name / str(seed)
        adapt(checked(AdaptSettings, values | {"name": name, "seed": seed}), run, resume=True)
        keep(kept, read_results(run))


if __name__ == "__main__":
    main()
