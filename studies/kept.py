"""What the pages read: the runs kept under studies/results, their figures, what has changed since they were made.

    python studies/kept.py      seals anew what a program of an earlier version has kept

Kept results have a seal of their own, since a study notes its command in them, and keeps no log.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from polyprompt.disk.files import make_folder, read_json
from polyprompt.disk.sealed import FILES, HASH, write_sealed
from polyprompt.report.tables import Figure
from polyprompt.runs.folder import CONFIG

RESULTS = Path(__file__).parent / "results"
CHOSEN = "prompts-6"
NAMES = {
    "prompts-6": "K = 6 prompts",
    "prompts-1": "one prompt",
    "last": "the last token",
    "mean": "the mean over the caption",
    "tokens-16": "sixteen adaptive tokens",
    "lora-mean": "the mean, with LoRA in the last two blocks",
    "vanilla-mean": "the mean of a fresh text tower",
    "vanilla-end": "the end token of a fresh text tower",
}
MOVED: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "norm_rate": ("new norms learned at the rate of the towers, now at that of all that is new", lambda config: True),
    "bias_rate": (
        "a sigmoid contrast started at scale 10 and bias -10, now at 1/0.07 and balanced for its batch",
        lambda config: config["loss"]["contrast"] == "sigmoid",
    ),
}
"""Settings that came with a default that moves figures: what a run without them did, and which runs that concerns."""


def runs(*parts: str) -> list[Path]:
    """The folders of finished runs under some part of the results."""
    return sorted(path.parent for path in RESULTS.joinpath(*parts).rglob("results.json"))


def keep(path: Path, results: dict[str, Any]) -> None:
    """Writes a run's results down, sealed with the config.json beside them, if there is one."""
    make_folder(path.parent)
    content = {key: value for key, value in results.items() if key not in (FILES, HASH)}
    write_sealed(path, content, beside=[CONFIG] if path.with_name(CONFIG).exists() else [])


def results(*parts: str) -> list[dict[str, Any]]:
    """What those runs found."""
    return [read_json(run / "results.json") for run in runs(*parts)]


def figure_of(read: Callable[[dict[str, Any]], float], *parts: str) -> Figure | None:
    """A share over the seeds under some part of the results, in per cent; None where nothing was run."""
    found = [100 * read(one) for one in results(*parts)]
    return Figure(found) if found else None


def compared(one: Figure, other: Figure) -> str:
    """Whether two means differ by more than both standard deviations together; nothing is said of one seed."""
    if one.spread is None or other.spread is None:
        return "one seed, no verdict"
    gap, spread = one.mean - other.mean, one.spread + other.spread
    return "above" if gap > spread else "below" if gap < -spread else "within the spread"


def earlier(found: Iterable[dict[str, Any]], what: str = "Made") -> list[str]:
    """A line for a table some of whose runs were made under defaults that are no more; none for others."""
    some = [one for one in found if "config" in one]
    old = {
        words: [key not in one["config"] and concerns(one["config"]) for one in some]
        for key, (words, concerns) in MOVED.items()
    }
    changes = [words for words, flags in old.items() if any(flags)]
    if not changes:
        return []
    concerned = [one for one, *flags in zip(some, *old.values(), strict=True) if any(flags)]
    if len(concerned) < len(some):
        names = sorted({one["name"] for one in concerned})
        what = f"In part ({', '.join(names)}) {what[0].lower()}{what[1:]}"
    return [f"*{what} under earlier defaults: {'; '.join(changes)}.*"]


def comparable(*folders: Sequence[str]) -> bool:
    """Whether the runs under some folders of the results were made under the same defaults."""
    return len({tuple(earlier(results(*folder))) for folder in folders}) == 1


def row(cells: Sequence[str]) -> str:
    """A row of a markdown table."""
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    for run in runs():
        found = read_json(run / "results.json")
        if found.get("kind") in ("align", "adapt"):
            keep(run / "results.json", found)
