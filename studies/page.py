"""Writes docs/results.md from the runs kept in studies/results. Nothing in that page is written by hand.

python studies/page.py
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyprompt.files import read_json, write_text
from polyprompt.report.tables import DIRECTIONS, Figure, write_table

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results.md"
CHOSEN = "prompts-6"
NAMES = {
    "prompts-6": "K = 6 prompts",
    "prompts-1": "one prompt",
    "last": "the last token",
    "mean": "the mean over the caption",
    "tokens-16": "sixteen adaptive tokens",
}


def page() -> str:
    """The whole page."""
    parts = [
        "# Results",
        "Written by `python studies/page.py` from the runs in studies/results; each names its machine.",
    ]
    for section in (flickr8k, ablations, pacs, caltech):
        parts += section()
    return "\n\n".join(parts) + "\n"


def runs(*parts: str) -> list[Path]:
    """The folders of finished runs under some part of the results."""
    return sorted(path.parent for path in HERE.joinpath("results", *parts).rglob("results.json"))


def flickr8k() -> list[str]:
    """K prompts against the other read-outs, on test."""
    if not (finals := runs("flickr8k", "final")):
        return []
    return [
        "## Flickr8k: K prompts against other read-outs of the same LLM",
        "CAMPE on SmolLM2-135M and EfficientNet-Lite0, trained on Flickr8k's 6,000 training pictures: the last block "
        "of the LLM and everything new. Same data, steps, image side and seeds in every row (studies/flickr8k.py). "
        "Each read-out's learning rate was chosen on dev:",
        rates("flickr8k", [path.name for path in sorted((HERE / "results/flickr8k/tune").iterdir())], dev_recall),
        write_table(finals).rstrip(),
        "### The claim: K prompts beat each baseline by more than the seeds' spread",
        "\n".join(verdicts()),
    ]


def verdicts() -> list[str]:
    """One line a baseline: the differences of the means, and which are beyond both standard deviations together."""
    lines = []
    ours = figures(CHOSEN)
    for name in NAMES:
        if name == CHOSEN or not (theirs := figures(name)):
            continue
        said, won = [], 0
        for key, mine in ours.items():
            gap = mine.mean - theirs[key].mean
            spread = (mine.spread or 0) + (theirs[key].spread or 0)
            verdict = "above" if gap > spread else "below" if gap < -spread else "within the spread"
            won += verdict == "above"
            said.append(f"{key} {gap:+.1f} ({verdict})")
        lines.append(f"- against {NAMES[name]}: {', '.join(said)}. Beyond the spread in {won} of {len(said)} figures.")
    return lines


def figures(name: str) -> dict[str, Figure]:
    """Recalls on test in per cent, over the seeds."""
    found = [
        next(iter(read_json(run / "results.json")["retrieval"].values())) for run in runs("flickr8k", "final", name)
    ]
    if not found:
        return {}
    return {
        f"{says} R@{key.split('@')[1]}": Figure([100 * one[way][key] for one in found])
        for way, says in DIRECTIONS.items()
        for key in found[0][way]
    }


def ablations() -> list[str]:
    """One part changed at a time, on dev."""
    parts = []
    if found := runs("flickr8k", "ablate"):
        head = "## Flickr8k: what each part is worth"
        parts += [head, "One seed, fewer epochs, on dev.", write_table(found).rstrip()]
    if found := runs("flickr8k", "modes"):
        head = "## Flickr8k: where the adaptive tokens live"
        parts += [head, "One seed, 1,500 training pictures, on dev.", write_table(found).rstrip()]
    return parts


def pacs() -> list[str]:
    """Few-shot on photographs, and other domains."""
    return accuracies(
        "pacs",
        "PACS: sixteen photographs a class",
        "Accuracy in % on the other photographs, and of the same classifiers on the three other domains.",
        {"test": "photo", **{f"data/pacs/{name}": name for name in ("art_painting", "cartoon", "sketch")}},
    )


def caltech() -> list[str]:
    """Base to novel."""
    return accuracies(
        "caltech101",
        "Caltech101, base to novel",
        "Accuracy in % on the 50 classes that were trained on, on the other 50, and the harmonic mean.",
        {"base": "base", "novel": "novel", "": "harmonic mean"},
    )


def accuracies(table: str, title: str, what: str, columns: dict[str, str]) -> list[str]:
    """Mean and standard deviation over the seeds, a row a method."""
    if not (found := [read_json(run / "results.json") for run in runs("adapt", table)]):
        return []
    rows: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        rows.setdefault(one["name"], []).append(one)
    lines = [row(["", *columns.values(), "calibration error", "numbers learned", "seeds"])]
    lines.append(row(["---", *["---:"] * (len(columns) + 3)]))
    for name, ones in sorted(rows.items(), key=lambda item: (item[0] != "zero-shot", item[0])):
        cells = [Figure([100 * accuracy(one, column) for one in ones]).says(1) for column in columns]
        first = next(iter(ones[0]["classification"]))
        error = Figure([one["classification"][first]["calibration_error"] for one in ones]).says(3)
        seeds = ", ".join(str(one["seed"]) for one in ones)
        lines.append(row([name, *cells, error, f"{ones[0]['learned']:,}", seeds]))
    head = found[0]
    how = f"`{head['command']}`, {head['machine']}, {head['date']}; the longest cell took {longest(found)} s."
    tuned = rates("adapt", sorted(path.name for path in (HERE / "results/adapt/tune").iterdir()), tune_accuracy)
    return [f"## {title}", what, "\n".join(lines), how, "Rates, chosen on other pictures:", tuned]


def accuracy(found: dict[str, Any], column: str) -> float:
    """A column's share; without a name the harmonic mean."""
    return found["classification"][column]["accuracy"] if column else found["harmonic_mean"]


def longest(found: Sequence[dict[str, Any]]) -> int:
    """Seconds of the slowest run."""
    return round(max(one["seconds"] for one in found))


def rates(study: str, names: Sequence[str], figure: Any) -> str:
    """What each rate gave where rates were chosen."""
    lines = []
    for name in names:
        tried = [read_json(run / "results.json") for run in runs(study, "tune", name)]
        tried.sort(key=lambda one: one["config"]["rate"])
        said = [f"{one['config']['rate']:g}: {100 * figure(one):.1f}" for one in tried]
        lines.append(row([NAMES.get(name) or tried[0]["name"], *said]))
    many = max(line.count("|") for line in lines) - 2
    return "\n".join([row(["", *["rate: % on dev"] * many]), row(["---", *["---:"] * many]), *lines])


def dev_recall(found: dict[str, Any]) -> float:
    """Mean of recall at 1, 5 and 10 in both directions."""
    (one,) = found["retrieval"].values()
    shares = [share for way in DIRECTIONS for share in one[way].values()]
    return sum(shares) / len(shares)


def tune_accuracy(found: dict[str, Any]) -> float:
    """Accuracy on the pictures of the training split that were not drawn."""
    return found["classification"]["test"]["accuracy"]


def row(cells: Sequence[str]) -> str:
    """A row of a markdown table."""
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    write_text(PAGE, page())
