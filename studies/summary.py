"""The first table of the page of results: each claim, its figure, how many seeds are behind it, and the verdict."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flickr8k import STEPS, spelled
from kept import CHOSEN, NAMES, RESULTS, comparable, compared, figure_of, results, row
from tuning import mean_recall

from polyprompt.report.averages import grids
from polyprompt.report.grid import name_of, shown
from polyprompt.report.tables import Figure
from polyprompt.runs.cells import results_in


class Claim(NamedTuple):
    """A row of the table."""

    claim: str
    figure: str
    seeds: int
    verdict: str


def summary() -> list[str]:
    """The table, and how its verdicts are come by."""
    claims = [*captions(), *sentences(), *parts(), *weights(), *gridded()]
    head = [row(["claim", "figure", "seeds", "verdict"]), row(["---", "---", "---:", "---"])]
    lines = [row([one.claim, one.figure, str(one.seeds), one.verdict]) for one in claims]
    return [
        "## In short",
        "\n".join([*head, *lines]),
        "Above or below: by more than both rows' standard deviations over the seeds together. Recall is the mean of "
        "recall at 1, 5 and 10 in both directions; figures in %. The sections below have every figure, and say which "
        "were made under defaults that are no more.",
    ]


def versus(claim: str, ours: Figure | None, theirs: Figure | None, what: str) -> Iterator[Claim]:
    """Two rows of a table against each other, where both were run."""
    if ours and theirs:
        seeds = min(len(ours.values), len(theirs.values))
        yield Claim(claim, f"{what} {ours.says(1)} against {theirs.says(1)}", seeds, compared(ours, theirs))


def readouts(
    title: str, folder: tuple[str, ...], read: Callable[[dict[str, Any]], float], what: str
) -> Iterator[Claim]:
    """K = 6 prompts against every other readout under a folder of results."""
    ours = figure_of(read, *folder, CHOSEN)
    for name, says in NAMES.items():
        if name != CHOSEN and comparable((*folder, CHOSEN), (*folder, name)):
            yield from versus(f"{title}: K = 6 against {says}", ours, figure_of(read, *folder, name), what)


def captions() -> Iterator[Claim]:
    """Retrieval of pictures and of clips."""
    for title, *folder in (
        ("Flickr8k", "flickr8k", "final"),
        ("Flickr8k at the best setting", "flickr8k", "best", "final"),
        ("MSR-VTT's subset, from Flickr8k", "msrvtt", "final"),
        ("MSR-VTT's subset, from nothing", "msrvtt", "scratch"),
    ):
        yield from readouts(title, tuple(folder), mean_recall, "recall on test")


def sentences() -> Iterator[Claim]:
    """Similarity of sentences."""
    yield from readouts("STS-B", ("sts", "final"), stsb, "Spearman on test")
    yield from readouts("Seven STS sets, no pair seen", ("sts", "zero-shot"), all_sets, "mean Spearman")


def stsb(found: dict[str, Any]) -> float:
    """Spearman's correlation on STS-B's test pairs."""
    return next(one["spearman"] for name, one in found["sentences"].items() if name.startswith("stsb"))


def all_sets(found: dict[str, Any]) -> float:
    """The plain mean over the sets."""
    shares = [one["spearman"] for one in found["sentences"].values()]
    return sum(shares) / len(shares)


def parts() -> Iterator[Claim]:
    """What single settings are worth, on dev."""
    usual, *_, best = (f"parts/{spelled(name)}" for name in STEPS)
    for claim, one, other in (
        ("A final norm fitted to the readouts, against the LLM's own", "ablate/as-it-is", "ablate/the-llm-s-own-norm"),
        ("Softmax contrast against sigmoid", "ablate/as-it-is", "ablate/sigmoid-contrast"),
        ("One map a prompt, against one for all", "ablate/as-it-is", "ablate/one-map-for-all-prompts"),
        ("Diversity loss ten times as strong", "ablate/diversity-loss-times-ten", "ablate/as-it-is"),
        ("All blocks of the LLM, against 24 of 30", "ablate/as-it-is", "ablate/text-depth-24"),
        ("The best setting against the recipe", best, usual),
        ("Mirrored pictures on top of it", "parts/and-mirrored-pictures", best),
        ("MSR-VTT's training clips on top of it", "parts/and-msr-vtt-s-training-clips", best),
    ):
        yield from versus(claim, on_dev(one, mean_recall), on_dev(other, mean_recall), "recall on dev")
    alike = on_dev(best, redundancy), on_dev(usual, redundancy)
    yield from versus("The best setting against the recipe", *alike, "redundancy of the prompts")


def on_dev(run: str, read: Callable[[dict[str, Any]], float]) -> Figure | None:
    """A figure of a run on Flickr8k, if it was made."""
    return figure_of(read, "flickr8k", run)


def redundancy(found: dict[str, Any]) -> float:
    """How alike the prompts' scores are."""
    (one,) = found["retrieval"].values()
    return one["aspects"]["redundancy"]


def weights() -> Iterator[Claim]:
    """Aspect weights against equal ones."""
    found = results("aspect-weights")
    for name, ways in found[0]["sets"].items() if found else ():
        for way in ways:
            each = [one["sets"][name][way] for one in found]
            ours, theirs = (Figure([100 * one[which] for one in each]) for which in ("weighted", "equal"))
            yield from versus(f"Aspect weights, {way}, against equal ones: {name}", ours, theirs, "zero-shot")


def gridded() -> Iterator[Claim]:
    """The methods of a grid against zero-shot, by the paired test of its table."""
    for folder in sorted(RESULTS.glob("grids/*")):
        for grid in grids(results_in(folder)):
            tested = [one for one in shown(grid).compared if one.pairs]
            if not tested:
                continue
            best = min(tested, key=lambda one: one.rank)
            shots = f", {grid.shots} shots" if grid.shots else ""
            clear = [2 * one.better > one.pairs for one in tested if one.p is not None and one.p < 0.05]
            yield Claim(
                f"{folder.name}{shots}: methods against zero-shot",
                f"best: {name_of(best.row, grid)}, better in {best.better} of {best.pairs} figures",
                len({one.cell.seed for one in grid.results} - {None}),
                f"p < 0.05: {sum(clear)} better, {len(clear) - sum(clear)} worse of {len(tested)}",
            )
