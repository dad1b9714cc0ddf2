"""Writes docs/speed.md, its plot and docs/reliability.md from benchmarks/results/*.json:

    .venv/bin/python benchmarks/page.py

`reliability-NAME.json` becomes a section of docs/reliability.md, every other file one of docs/speed.md. A result holds
what `measure.write` puts there, `claim`, and `found`: one row of figures, or a list of rows; `notes`, if there are any,
stand below the table as they are.
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from goals import GOALS, rows_of
from measure import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
RELIABILITY = PAGE.with_name("reliability.md")
PREFIX = "reliability-"
PLOT = "speed-classes.svg"
CURVE = "adapt-maple"
HEAD = """<!-- Written by benchmarks/page.py from benchmarks/results/. -->

# Speed and memory

Each section gives the goal, what was measured, and the command that measured it. Where there are two sides, they ran in
turn in one run, and had to compute the same before they were timed: `ours`, and `theirs`, the plain way or another
library. `ratio` is theirs over ours, the median over rounds; seconds are medians too. `processor` figures count
processor time instead, which tells more where others use the machine meanwhile; `load before` is how many processes
wanted it in the minute before. A `limit` is the ratio if all but one part of our side took no time: the image tower, or
the matrix products, at the speed of large ones on that machine. `make bench` runs everything again.

Memory that was used once is kept and used again, on both sides, as the `polyprompt` program does from its start
(`src/polyprompt/nn/memory.py`). Without that, glibc hands each big activation back to the system and the kernel maps
and fills the next one anew: encoding 256 pictures took 5.9 s and 3.1 million page faults; with it, 3.05 s and 75,000.
In Python the training loop and the encoding calls keep memory while they run; a program of your own says
`polyprompt.nn.memory.keep_memory()` at its start. Figures from before 2026-11-26 had it in `adapt-` alone.
"""
RELIABILITY_HEAD = """<!-- Written by benchmarks/page.py from benchmarks/results/. -->

# What was tried to break it

Each section gives what is promised, what was counted, and the command that counted it. The same counts, smaller, are
slow tests (`make test-slow`). A count that was ended before its time says how far it came.
"""
KNOWN = ("command", "date", "machine", "versions", "claim", "notes")


def page(results: Path) -> str:
    """All figures of speed and memory in a folder, one section each."""
    kept = {name: found for name, found in _read(results).items() if not name.startswith(PREFIX)}
    return _page("\n".join([HEAD, *summary(kept)]), kept)


def reliability_page(results: Path) -> str:
    """All counts of what was tried to break it, one section each."""
    found = _read(results)
    kept = {name.removeprefix(PREFIX): found[name] for name in found if name.startswith(PREFIX)}
    return _page(RELIABILITY_HEAD, kept)


def _read(results: Path) -> dict[str, dict[str, Any]]:
    files = sorted(results.glob("*.json"), key=lambda path: path.stem)
    return {path.stem: json.loads(path.read_text()) for path in files}


def _page(head: str, results: dict[str, dict[str, Any]]) -> str:
    return "\n".join([head, *(section(name, result) for name, result in results.items())])


def summary(found: dict[str, dict[str, Any]]) -> list[str]:
    """Every goal of the results that are there, and whether it was reached; results without one have their name."""
    rows = [["claim", "figure", "goal", "limit", "reached"], [":---", "---:", "---:", "---:", ":---"]]
    for goal in GOALS:
        for which, value, limit in goal.figures(found[goal.result]) if goal.result in found else ():
            claim = f"[{goal.claim}](#{goal.result}){which and f', {which}'}"
            most = "" if limit is None else f"{readable(limit)}{goal.unit}"
            reached = "yes" if goal.met(value) else "**missed**"
            rows.append([claim, f"{readable(value)}{goal.unit}", goal.text, most, reached])
    stated = {goal.result for goal in GOALS}
    rows += [[f"[{name}](#{name})", "see there", "", "", ""] for name in found if name not in stated]
    return ["## All claims\n", *(f"| {' | '.join(row)} |" for row in rows), ""]


def section(name: str, result: dict[str, Any]) -> str:
    """The claim, how it was measured, and a table of what was found."""
    machine = result["machine"]
    measured = (
        f"`{result['command']}`, {result['date'][:10]}; {machine['processor']}, {machine['cores']} cores, "
        f"threads used: {machine['threads']}, torch {result['versions']['torch']}; load at the end {machine['load']:g}"
    )
    rest = {key: value for key, value in result.items() if key not in KNOWN}
    rows = [dict(figures(row)) for row in rows_of(rest)]
    picture = [f"\n![seconds of a step by the number of classes]({PLOT})\n"] if name == CURVE else []
    notes = [f"\n{note}" for note in result.get("notes", ())]
    return "\n".join(
        [f"## {name}\n", f"Goal: {result['claim']}.\n", *table(rows), *notes, f"\n{measured}", *picture, ""]
    )


def figures(found: dict[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Names and readable values: of lists the median, of dicts their entries."""
    for key, value in found.items():
        if key == "ratios" or (key == "ratio" and "time" in found):  # in `time` once more
            continue
        words = key.removesuffix("_bytes").replace("_", " ")
        name = within if key == "time" else f"{within}, {words}" if within else words
        if isinstance(value, dict):
            yield from figures(value, name)
        elif isinstance(value, list):
            yield name, readable(statistics.median(value))
        elif key.endswith("_bytes"):
            yield name, f"{value / 2**30:.2f} GiB"
        else:
            yield name, readable(value)


def readable(value: Any) -> str:
    """Three digits of what is measured, all of what is counted."""
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


def table(rows: list[dict[str, str]]) -> list[str]:
    """A Markdown table; a single row is turned on its side."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(rows) == 1:
        return ["| figure | |", "| --- | ---: |", *(f"| {name} | {rows[0][name]} |" for name in names)]
    lines = [[row.get(name, "") for name in names] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in (names, ["---:"] * len(names), *lines)]


def plot(curve: dict[str, Any], path: Path) -> None:
    """Seconds of a step against the number of classes, both sides."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    plt.rcParams["svg.hashsalt"] = path.stem  # the same figures give the same file
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for side, label in (("theirs", "the plain way"), ("ours", "polyprompt")):
        times = [(row["classes"], row["time"]["seconds"].get(side)) for row in curve["found"]]
        points = [(classes, statistics.median(seconds)) for classes, seconds in times if seconds]
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="classes", ylabel="seconds per MaPLe step of 4 images")
    ticks = [row["classes"] for row in curve["found"]]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    PAGE.write_text(page(RESULTS), encoding="utf-8")
    RELIABILITY.write_text(reliability_page(RESULTS), encoding="utf-8")
    curve = RESULTS / f"{CURVE}.json"
    if curve.exists():
        plot(json.loads(curve.read_text()), PAGE.with_name(PLOT))


if __name__ == "__main__":
    main()
