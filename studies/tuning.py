"""How every study chooses learning rates, so that all rows of a table were tuned with the same care."""

import csv
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any

from polyprompt.disk.files import make_folder, read_json, whole_file


def try_rates(run: Callable[[float], object], best: Callable[[], float], rates: Sequence[float], step: float) -> None:
    """One run a rate; and at rates beyond, `step` times as far, while the best one is the smallest or the largest.

    Args:
        run: makes the run of a rate, unless it is kept.
        best: the best rate of those that were run.
        rates: in ascending order.
        step: between a rate at the end and the next one.
    """
    tried = list(rates)
    for rate in tried:
        run(rate)
        if rate != tried[-1]:
            continue
        found = best()
        if found == min(tried):
            tried.append(found / step)
        elif found == max(tried):
            tried.append(found * step)


def write_pool(table: Path, split_file: Path, classes: Container[int] = range(20)) -> None:
    """A table of the training pictures of some classes, by number, of a split file of CoOp's; no page scores them."""
    make_folder(table.parent)
    with whole_file(table) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        images = (split_file.parent / "images").resolve()
        listed = read_json(split_file)["train"]
        writer.writerows([images / path, name] for path, label, name in listed if label in classes)


def best_settings(folder: Path, figure: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
    """The settings of the best run below a folder of results; of equals the one with the smallest rate."""
    tried = [read_json(path) for path in folder.glob("*/results.json")]
    return max(tried, key=lambda results: (figure(results), -results["config"]["rate"]))["config"]


def mean_recall(results: dict[str, Any]) -> float:
    """Of recall at 1, 5 and 10 in both directions, on the one set that a run was scored on."""
    (found,) = results["retrieval"].values()
    figures = [share for way in ("image_to_text", "text_to_image") for share in found[way].values()]
    return sum(figures) / len(figures)


def mean_accuracy(results: dict[str, Any]) -> float:
    """Over the tasks of a run."""
    found = results["classification"].values()
    return sum(one["accuracy"] for one in found) / len(found)
