"""`polyprompt methods`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from polyprompt.values import Plain

HEAD = ("method", "paper", "what learns", "numbers", "trained", "base", "novel", "HM", "step", "what it is")
PAPER = re.compile(r" *\(([^()]*\d{4}[^()]*)\)")
"""Where the first line of a method's file names its paper."""


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, or your.module.")] = None,
) -> None:
    """The methods that `adapt` knows; of one of them, its settings.

    What learns and how many numbers: as published, on a ViT-B/16 with 100 classes of 16 pictures. Base, novel, HM: the
    published averages over 11 data sets. Step: how long a training step takes here, beside CoOp's.

    Example: polyprompt methods maple
    """
    for line in table(settings_rows(name) if name else method_rows()):
        typer.echo(line)


def method_rows() -> list[tuple[str, ...]]:
    """What each method's file says of it, what it learns on a ViT-B/16, what was published, what a step costs."""
    from polyprompt.methods import names

    return [HEAD, *((name, *facts(name)) for name in names())]


def facts(name: str) -> tuple[str, ...]:
    """A method's row of the table, without its name: the columns of HEAD behind the first."""
    from polyprompt.adapt.published import Untrained
    from polyprompt.methods import records

    published = records(name)
    record = published if isinstance(published, Untrained) else published.get("base-to-novel")
    figures = {} if record is None else record.figures
    shown = [f"{figures[key]:.2f}" if key in figures else "-" for key in ("base", "novel", "harmonic mean")]
    paper, what = described(name)
    return paper or "-", *learned(name), "no" if record is published else "yes", *shown, cost(name), what


def learned(name: str) -> tuple[str, str]:
    """The parts of a method that learn, and how many numbers they are: 100 classes, 16 pictures each, as published."""
    import torch

    from polyprompt.methods import typical
    from polyprompt.towers.sizes import Sizes

    encoder: Plain = Sizes()
    adapter = typical(name).build(encoder, [f"class {number}" for number in range(100)], torch.Generator())
    if any(True for _ in adapter.parameters()):
        adapter.fit(torch.zeros(1, 1600, encoder.dim), torch.arange(1600) % 100)  # Tip-Adapter's keys
    numbers = adapter.numbers()
    parts = dict.fromkeys(key.partition(".")[0] for key in numbers)
    return ", ".join(parts) or "-", f"{sum(numbers.values()):,}"


def cost(name: str) -> str:
    """How many of CoOp's training steps one of a method takes, as benchmarks/steps.py measured it."""
    from polyprompt import methods

    rows = json.loads(Path(methods.__file__).with_name("steps.json").read_bytes())["found"]
    return next((f"{row['beside CoOp']:g}" for row in rows if row["method"] == name), "-")


def described(name: str) -> tuple[str, str]:
    """A method's paper, and what it is."""
    from polyprompt.methods import module_of

    head = " ".join((module_of(name).__doc__ or "").split("\n\n")[0].split())
    paper = PAPER.search(head)
    return (paper[1] if paper else ""), PAPER.sub("", head).removesuffix(".")


def settings_rows(name: str) -> list[tuple[str, str, str]]:
    """A method's settings, as --set takes them."""
    from polyprompt.cli.shown import default_text
    from polyprompt.methods import config_of
    from polyprompt.settings import settings_of

    settings = settings_of(config_of(name), "method.")
    return [("setting", "default", "what it is"), *((one.name, default_text(one), one.doc) for one in settings)]


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows in columns; what is long is cut, but for the last column."""
    cut = [[*(cell if len(cell) <= 44 else f"{cell[:41]}..." for cell in row[:-1]), row[-1]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cut]
