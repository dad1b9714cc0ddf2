"""Writes docs/results.md from the runs kept in studies/results. Nothing in that page is written by hand.

python studies/page.py
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flickr8k import BESIDE, STEPS
from grids import NOTE, tried
from kept import CHOSEN, NAMES, RESULTS, comparable, compared, earlier, results, row, runs
from summary import stsb, summary
from tuning import mean_accuracy, mean_recall

from polyprompt.disk.files import read_json, write_text
from polyprompt.report.averages import grids
from polyprompt.report.distinct import with_distinct_names
from polyprompt.report.grid import markdown, shown
from polyprompt.report.tables import DIRECTIONS, Figure, write_table
from polyprompt.runs.cells import results_in

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
TABLES = {
    ("sts", "final"): (
        "## Sentences alone: STS-B, and six sets that nobody trained on",
        "The text side alone on STS-B's training pairs (CoSENT): the same LLM, steps and loss for every readout, each "
        "at its own best rate on dev. Test was scored once, and the other six sets with it (studies/sts.py).",
    ),
    ("sts", "zero-shot"): (
        "## The models made on Flickr8k, on sentences",
        "They saw no scored pair (studies/sts.py).",
    ),
    ("msrvtt", "final"): (
        "## Video-text retrieval on a subset of MSR-VTT, from the models made on Flickr8k",
        "Six frames a clip; each readout at its own best rate on dev (studies/msrvtt.py).",
    ),
    ("msrvtt", "scratch"): (
        "## Video-text retrieval on a subset of MSR-VTT, from nothing",
        "As long as both trainings above together, one seed (studies/msrvtt.py).",
    ),
}
"""Titles of what else is kept, one table each, and how it was made."""
CHOSEN_BY: dict[str, Callable[[dict[str, Any]], float]] = {"sts": stsb, "msrvtt": mean_recall}
"""What rates were chosen by, on dev."""


def page() -> str:
    """The whole page."""
    parts = [
        "# Results",
        "Written by `python studies/page.py` from the runs in studies/results; each names its machine.",
    ]
    for section in (
        *(summary, flickr8k, best, setting, alike, ablations, norms),
        *(other_tables, aspect_weights, gridded, tasks),
    ):
        parts += section()
    return "\n\n".join(parts) + "\n"


def flickr8k() -> list[str]:
    """K prompts against the other readouts, on test."""
    if not (finals := runs("flickr8k", "final")):
        return []
    claim = "\n".join(verdicts("final"))
    return [
        "## Flickr8k: K prompts against other readouts of the same LLM",
        "CAMPE on SmolLM2-135M and EfficientNet-Lite0, trained on Flickr8k's 6,000 training pictures: the last block "
        "of the LLM and everything new. Same data, steps, image side and seeds in every row (studies/flickr8k.py). "
        "Each readout's learning rate was chosen on dev, beyond the first three rates where the best of them was at "
        "their end. Runs shared the machine, so the time each took says little.",
        rates("flickr8k/tune", mean_recall),
        *table(finals),
        *(["### The claim: K prompts beat each baseline by more than the seeds' spread", claim] if claim else []),
    ]


def best() -> list[str]:
    """The same at the setting that dev prefers."""
    if not (finals := runs("flickr8k", "best", "final")):
        return []
    claim = "\n".join(verdicts("best", "final"))
    return [
        "## Flickr8k at the best setting: K prompts against other readouts",
        "Twice the epochs, a softmax scale that starts at 20, diversity loss 1.0 and no loss of negations, for every "
        "readout; rates chosen on dev at this setting, in half the epochs, from the same grid.",
        rates("flickr8k/best/tune", mean_recall),
        *table(finals),
        *(["### The claim at this setting", claim] if claim else []),
    ]


def setting() -> list[str]:
    """What each part of that setting gave, and what else was tried."""
    if not (found := runs("flickr8k", "parts")):
        return []
    order = [*STEPS, *BESIDE]
    return [
        "## Flickr8k: what lifts the encoder",
        "K = 6, one seed, on dev. Each of the first rows stands on those above it: the recipe, twice the epochs, the "
        "scale started at 20, diversity loss 1.0, no loss of negations. The others are each tried by itself on top of "
        "all of these.",
        gains({one["name"]: 100 * mean_recall(one) for one in results("flickr8k", "parts")}),
        *table(sorted(found, key=lambda run: order.index(read_json(run / "results.json")["name"]))),
    ]


def gains(recalls: Mapping[str, float]) -> str:
    """The mean recall of each part, and what it gave over what it stands on."""
    lines = [row(["part", "mean recall on dev, %", "gave"]), row(["---", "---:", "---:"])]
    below: float | None = None
    for name in filter(recalls.__contains__, [*STEPS, *BESIDE]):
        gave = "" if below is None else f"{recalls[name] - below:+.1f}"
        lines.append(row([name, f"{recalls[name]:.1f}", gave]))
        below = recalls[name] if name in STEPS else below
    return "\n".join(lines)


def table(found: Sequence[Path]) -> list[str]:
    """A table of runs, and under which defaults they were made where these are no more."""
    return [*earlier(read_json(run / "results.json") for run in found), write_table(found).rstrip()]


def verdicts(*stage: str) -> list[str]:
    """One line a baseline; nothing is said of one with less than two seeds, or made under other defaults."""
    lines = []
    ours = figures(*stage, CHOSEN)
    for name in NAMES:
        theirs = figures(*stage, name)
        if name == CHOSEN or not comparable(("flickr8k", *stage, CHOSEN), ("flickr8k", *stage, name)):
            continue
        if not theirs or any(one.spread is None for one in [*ours.values(), *theirs.values()]):
            continue
        parts, won = [], 0
        for key, mine in ours.items():
            verdict = compared(mine, theirs[key])
            won += verdict == "above"
            parts.append(f"{key} {mine.mean - theirs[key].mean:+.1f} ({verdict})")
        lines.append(
            f"- against {NAMES[name]}: {', '.join(parts)}. Beyond the spread in {won} of {len(parts)} figures."
        )
    return lines


def figures(*parts: str) -> dict[str, Figure]:
    """Recalls in per cent, over the seeds."""
    found = [next(iter(one["retrieval"].values())) for one in results("flickr8k", *parts)]
    return {
        f"{says} R@{key.split('@')[1]}": Figure([100 * one[way][key] for one in found])
        for way, says in DIRECTIONS.items()
        for key in (found[0][way] if found else ())
    }


def alike() -> list[str]:
    """Why the prompts' readouts are alike."""
    path = RESULTS / "alike" / "results.json"
    if not path.exists():
        return []
    found = read_json(path)
    lines = [
        row(["prompt", "tokens behind the word", "cosine at the word", "where the prompt ends", "behind the norm"]),
        row(["---", *["---:"] * 4]),
    ]
    for one in found["found"]:
        cosines = [f"{one[place]:.2f}" for place in ("word", "end", "readout")]
        lines.append(row([f"`{one['template']}`", str(one["behind"]), *cosines]))
    return [
        "## Why readouts are alike, and what makes prompts differ",
        "How alike the states of six prompts are before anything is trained: the mean pairwise cosine of centred "
        f"states over {found['captions']} captions of dev, in the frozen LLM. At the adaptive word and where the "
        "prompt ends the states are those entering the last block.",
        "\n".join(lines),
        "The prompts differ at the adaptive word and less where they end: there they stand on the same token behind "
        "the same words, and what the LLM expects next hangs on the caption more than on one word some places back. "
        "A loss on the readouts would have to undo in one trained block what the frozen ones wrote. A loss on how "
        "the segments score pairs (`loss.diversity_of=scores`, the default) acts on the maps and on the pictures' "
        "segments too, and those are what a search adds up. The next table has both, ten times as strong too, and the "
        "shortest of these prompts.",
        f"`{found['command']}`, {found['machine']}, {found['date']}.",
    ]


def ablations() -> list[str]:
    """One part changed at a time, on dev."""
    parts = []
    if found := runs("flickr8k", "ablate"):
        head = "## Flickr8k: what each part is worth"
        first = table(sorted(found, key=lambda run: run.name != "as-it-is"))
        by_name = {run.name: read_json(run / "results.json") for run in found}
        parts += [head, "One seed, fewer epochs, on dev.", *first, differing(by_name)]
    if found := runs("flickr8k", "modes"):
        head = "## Flickr8k: where the adaptive tokens live"
        parts += [head, "One seed, 1,500 training pictures, on dev.", *table(found)]
    return parts


def differing(found: dict[str, dict[str, Any]]) -> str:
    """What the diversity loss gives and takes."""
    labels = {
        "no-diversity-loss": "without it",
        "as-it-is": "as it is",
        "diversity-loss-times-ten": "ten times as strong",
    }
    lines = [row(["diversity loss", "redundancy", "mean recall, %"]), row(["---", "---:", "---:"])]
    for name, label in labels.items():
        if name not in found:
            continue
        (one,) = found[name]["retrieval"].values()
        lines.append(row([label, f"{one['aspects']['redundancy']:.2f}", f"{100 * mean_recall(found[name]):.1f}"]))
    return "In short, what makes the prompts differ, and what that costs:\n\n" + "\n".join(lines)


def norms() -> list[str]:
    """The LLM's own final norm against one fitted to the readouts, for every readout."""
    if not runs("flickr8k", "norms"):
        return []
    lines = [
        row(
            [
                label,
                *(f"{100 * best_figure(f'flickr8k/{stage}/{name}', mean_recall):.1f}" for stage in ("norms", "tune")),
            ]
        )
        for name, label in NAMES.items()
        if runs("flickr8k", "norms", name)
    ]
    return [
        "## Flickr8k: the final norm",
        "The tables above have a final norm fitted to the readouts, the default of `align`: it takes away what all "
        "captions have in common and evens out the coordinates. The LLM's own norm (`text.norm=own`) was tuned over "
        "the same rates. Mean recall on dev in %, each at its best rate, one seed:",
        "\n".join([row(["", "own", "fitted"]), row(["---", "---:", "---:"]), *lines]),
        *earlier(results("flickr8k", "norms") + results("flickr8k", "tune")),
        "With the own norm:",
        rates("flickr8k/norms", mean_recall),
        "The fitted norm was chosen on dev. Test had been scored before with the own one, so the table of test figures "
        "above is the second that was made.",
        *norm_rates(),
        "`python studies/flickr8k.py norms`.",
    ]


def norm_rates() -> list[str]:
    """New norms at the rate of the pretrained weights and at that of what is new."""
    if not runs("flickr8k", "rates"):
        return []
    lines = []
    for name in ("prompts-6", "last"):
        found = {path.name: mean_recall(read_json(path / "results.json")) for path in runs("flickr8k", "rates", name)}
        both = ([share for run, share in found.items() if run.startswith(words)] for words in ("tower", "new"))
        lines.append(row([NAMES[name], *(Figure([100 * share for share in some]).says(1) for some in both)]))
    return [
        "A fitted norm and the norm on a CNN's tokens are new, but small, on pretrained states. At the rate of the "
        "pretrained weights, and at that of all that is new (the default); mean recall on dev in %, two seeds "
        "(`python studies/flickr8k.py rates`):",
        "\n".join([row(["", "rate of the towers", "rate of the new"]), row(["---", "---:", "---:"]), *lines]),
    ]


def other_tables() -> list[str]:
    """The same readouts elsewhere."""
    parts = []
    for (name, stage), head in TABLES.items():
        if found := runs(name, stage):
            chosen = [rates(f"{name}/tune", CHOSEN_BY[name])] if stage == "final" else []
            parts += [*head, *chosen, *table(found)]
    return parts


def gridded() -> list[str]:
    """Grids by the field's protocols (`polyprompt run recipes/grid-NAME.yaml`), as their own report has them."""
    parts = []
    if encoder := runs("encoder"):
        title = "## The encoder of the grids below"
        parts += [
            title,
            "The first K = 6 run of Flickr8k at the best setting; studies/results/encoder has all that it learned.",
            *table(encoder),
            *factors(),
        ]
    for folder in sorted(RESULTS.glob("grids/*")):
        found = with_distinct_names(results_in(folder))
        tables = markdown([shown(grid) for grid in grids(found)], found)
        parts += [f"## Grid: {folder.name}", f"recipes/{folder.name}.yaml.", tables.replace("## ", "### ").rstrip()]
    return parts


def factors() -> list[str]:
    """How the rates of the grids were chosen."""
    accuracies = tried()
    columns = sorted({factor for found in accuracies.values() for factor in found})
    lines = [row(["", *(f"{factor:g}" for factor in columns)]), row(["---", *["---:"] * len(columns)])]
    lines += [
        row([name, *(f"{100 * found[factor]:.1f}" if factor in found else "" for factor in columns)])
        for name, found in sorted(accuracies.items())
    ]
    return [
        "Each method learns at one factor on its published rate in all grids, chosen on training pictures of "
        "Caltech101's first 20 classes, 4 a class to train on and the others to score; and at those beyond, while the "
        "smallest or the largest was the best (studies/grids.py). Accuracy in % by factor, one seed:",
        "\n".join(lines),
        NOTE,
    ]


def tasks() -> list[str]:
    """One adapter for several tasks, against one a task."""
    if not (together := results("tasks", "together")):
        return []
    lines = [
        row(["", "zero-shot, %", "alone, %", "together, %", "together is"]),
        row(["---", "---:", "---:", "---:", "---"]),
    ]
    for task in together[0]["classification"]:
        each = [accuracies(together, "zero_shot", task), accuracies(results("tasks", task), "classification", "test")]
        each.append(accuracies(together, "classification", task))
        lines.append(row([task, *(one.says(1) for one in each), compared(each[2], each[1])]))
    count = len(results("tasks")) // len(together) - 1
    return [
        f"## {count} domains as tasks",
        f"MmAP: one adapter learns PACS's {count} domains together, with prompts that they share and as many of each "
        f"domain's own, against one adapter a domain; the same pictures (4 a class) and epochs, {len(together)} seeds "
        "(studies/tasks.py). Both rates were chosen on the same pictures of Caltech101, one seed: that of one task as "
        "for the grids, that of the joint run on four tasks of a quarter of the classes each, mean accuracy of the "
        "tasks:",
        rates("task-rates", mean_accuracy),
        "\n".join(lines),
    ]


def accuracies(found: Sequence[dict[str, Any]], which: str, name: str) -> Figure:
    """In per cent, of a set in what some runs found."""
    return Figure([100 * one[which][name]["accuracy"] for one in found])


def aspect_weights() -> list[str]:
    """Prompts weighted up, against equal weights."""
    if not (found := results("aspect-weights")):
        return []
    lines = [
        row(["", "weights", "equal, %", "weighted, %", "gained", "lost", "pictures"]),
        row(["---", "---", *["---:"] * 5]),
    ]
    for name, first in found[0]["sets"].items():
        for way in first:
            each = [one["sets"][name][way] for one in found]
            shares = [Figure([100 * one[which] for one in each]).says(1) for which in ("equal", "weighted")]
            counts = [Figure([float(one[which]) for one in each]).says(0) for which in ("gained", "lost")]
            lines.append(row([name, way, *shares, *counts, f"{first[way]['pictures']:,}"]))
    tuned = "; ".join(", ".join(f"{weight:g}" for weight in one["weights"]["tuned"]) for one in found)
    return [
        "## Aspect weights",
        f"Zero-shot accuracy with {found[0]['template']!r}; seeds of encoders: {len(found)}. Fixed beforehand: weights "
        "of 1.25 for the first prompt and 0.95 for the others. Tuned: chosen once on Caltech101's training pictures, "
        f"used on every set ({tuned}). Both against equal weights, and how many pictures only one of the two has right "
        "(studies/aspect_weights.py).",
        *earlier(found, "The encoders were made"),
        "\n".join(lines),
    ]


def rates(stage: str, figure: Callable[[dict[str, Any]], float]) -> str:
    """What each rate gave where rates were chosen."""
    by_name = {}
    for folder in sorted((RESULTS / stage).iterdir()):
        tried = [read_json(run / "results.json") for run in runs(stage, folder.name)]
        tried.sort(key=lambda one: one["config"]["rate"])
        figures = [f"{one['config']['rate']:g}: {100 * figure(one):.1f}" for one in tried]
        by_name[NAMES.get(folder.name) or tried[0]["name"]] = figures
    many = max(map(len, by_name.values()))
    lines = [row([name, *figures, *[""] * (many - len(figures))]) for name, figures in by_name.items()]
    return "\n".join([row(["", *["rate: %"] * many]), row(["---", *["---:"] * many]), *lines])


def best_figure(folder: str, figure: Callable[[dict[str, Any]], float]) -> float:
    """The best figure of the runs in a folder."""
    return max(figure(read_json(run / "results.json")) for run in runs(folder))


if __name__ == "__main__":
    write_text(PAGE, page())
