"""A grid of 3 methods and 3 seeds with two workers, against nine separate `adapt` commands one after the other.

    python benchmarks/grid.py ENCODER DATA
    python benchmarks/grid.py ENCODER DATA --epochs 1 --rounds 1      a quick look

Both sides begin with an empty cache each time and have to give the same accuracies. Then two figures without any
training: the time that the grid adds to a cell, and how long it takes to say which of 10,000 cells are left.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import seconds, write

from polyprompt.bench import worker
from polyprompt.bench.plan import write_plan
from polyprompt.runs.cells import CELLS, Cell, Result, done_in, results_in, write_result

METHODS, SEEDS = ("coop", "maple", "vpt"), (1, 2, 3)
MANY, TOY = 10_000, 200


def command(arguments: list[str], cache: Path) -> None:
    """One `polyprompt` command in a process of its own."""
    environment = os.environ | {"POLYPROMPT_CACHE": str(cache)}
    subprocess.run([sys.executable, "-m", "polyprompt", *arguments], check=True, env=environment)


def grid(asked: argparse.Namespace, place: Path) -> None:
    """All nine cells and zero-shot, by two workers."""
    given = ["--methods", ",".join(METHODS), "--data", asked.data, "--encoders", asked.encoder, "--seeds", "1,2,3"]
    given += ["--shots", str(asked.shots), "--workers", "2", *sets(asked), "--out", str(place / "grid")]
    command(["run", "base-to-novel", *given], place / "cache-grid")


def separate(asked: argparse.Namespace, place: Path) -> None:
    """Nine runs of `adapt`."""
    for method in METHODS:
        for seed in SEEDS:
            given = ["--method", method, "--encoder", asked.encoder, "--shots", str(asked.shots), "--seed", str(seed)]
            given += ["--protocol", "base-to-novel", *sets(asked), "--out", str(place / f"{method}-{seed}")]
            command(["adapt", asked.data, *given], place / "cache-adapt")


def sets(asked: argparse.Namespace) -> list[str]:
    """Settings that both sides run with."""
    pairs = asked.set + ([f"epochs={asked.epochs}"] if asked.epochs else [])
    return [part for pair in pairs for part in ("--set", pair)]


def agree(place: Path) -> None:
    """The same accuracies on both sides."""
    for result in results_in(place / "grid"):
        if result.cell.method in METHODS:
            alone = json.loads((place / f"{result.cell.method}-{result.cell.seed}" / "results.json").read_text())
            for half in ("base", "novel"):
                ours, theirs = (one["classification"][half]["accuracy"] for one in (result.figures, alone))
                assert ours == theirs, (result.cell.method, result.cell.seed, half, ours, theirs)


def toy_cells(count: int) -> list[Cell]:
    """Cells that are nothing but a seed."""
    same = {"protocol": "toy", "task": "classify", "method": "toy", "encoder": "", "data": ""}
    return [Cell(**same, seed=seed, settings={"encoder": "", "seed": seed}) for seed in range(count)]


def overhead() -> float:
    """Seconds that claiming, writing and publishing take a cell that does nothing."""
    worker.TASKS = {"classify": lambda cell, encoder, folder: {"figure": 0}}
    worker.load_encoder = lambda name: None
    with tempfile.TemporaryDirectory() as place:
        plan = write_plan(Path(place), toy_cells(TOY))
        return seconds(lambda: worker.work(plan)) / TOY


def deciding() -> float:
    """Seconds to say which of the cells are left, where half of them are done."""
    cells = toy_cells(MANY)
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / CELLS).mkdir()
        for cell in cells[::2]:
            write_result(Path(place) / CELLS / f"{cell.name}.json", Result(cell, {"figure": 0}, 1.0, "", ""))
        left = []

        def decide() -> None:
            done = done_in(Path(place))
            left[:] = [cell for cell in cells if cell.name not in done]

        took = seconds(decide)
        assert len(left) == MANY // 2
        return took


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("encoder")
    options.add_argument("data")
    options.add_argument("--shots", type=int, default=16)
    options.add_argument("--epochs", type=int)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = options.parse_args()
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as place:
            times["ours"].append(seconds(lambda: grid(asked, Path(place))))
            times["theirs"].append(seconds(lambda: separate(asked, Path(place))))
            agree(Path(place))
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    write(
        "grid",
        {
            "claim": "3 methods, 3 seeds, --workers 2, against nine `adapt` commands: >= 3 times faster, same "
            "accuracies; <= 50 ms added to a cell; <= 1 s to say what is left of 10,000",
            "time": {"seconds": times, "ratios": ratios, "ratio": statistics.median(ratios)},
            "seconds_added_to_a_cell": overhead(),
            "seconds_to_say_what_is_left": deciding(),
        },
    )


if __name__ == "__main__":
    main()
