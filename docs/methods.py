"""Writes docs/methods.md and the README's table from the methods' files: .venv/bin/python docs/methods.py"""

import re
from collections.abc import Sequence
from pathlib import Path

from polyprompt.cli.methods import HEAD, method_rows

PAGE = Path(__file__).with_suffix(".md")
README = PAGE.parents[1] / "README.md"
TABLE = re.compile(r"(?<=<!-- methods -->\n\n).*?(?=\n\n<!-- end -->)", re.DOTALL)
TEXT = """<!-- Written by docs/methods.py from the methods' files. -->

# Methods

Each is one file in `src/polyprompt/methods/`, named as `--method` takes it. Numbers learned: as published, on a
ViT-B/16 with 100 classes of 16 pictures. Base, novel and HM, their harmonic mean: accuracies in % as the authors report
them, averages over 11 data sets, OpenAI's ViT-B/16, 16 pictures a class; a dash where no source was read. They are the
authors' figures, not measured here. Step: how long a training step takes here, beside CoOp's ([how](speed.md#steps)).

"""


def page() -> str:
    """All methods."""
    rows = [dict(zip(HEAD, row, strict=True)) for row in method_rows()[1:]]
    columns = ("method", "what it is", "paper", "numbers", "base", "novel", "HM", "step")
    return TEXT + table(columns, [[quoted(name, row[name]) for name in columns] for row in rows])


def readme() -> str:
    """The README, its table of published figures written again: the best harmonic mean first."""
    rows = [dict(zip(HEAD, row, strict=True)) for row in method_rows()[1:]]
    known = sorted((row for row in rows if row["HM"] != "-"), key=lambda row: -float(row["HM"]))
    columns = ("method", "paper", "numbers", "base", "novel", "HM", "step")
    shown = table(columns, [[quoted(name, row[name]) for name in columns] for row in known]).rstrip()
    return TABLE.sub(lambda _: shown, README.read_text(encoding="utf-8"))


def quoted(column: str, cell: str) -> str:
    """A cell as Markdown has it: methods as code, papers that are on arXiv as links."""
    if column == "method":
        return f"`{cell}`"
    return re.sub(r"arXiv:([\d.]+\d)", r"[\1](https://arxiv.org/abs/\1)", cell) if column == "paper" else cell


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Names to the left, figures to the right."""
    names = {"method", "paper", "what it is", "step"}
    line = [" --- " if name in names else " ---: " for name in head]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, [cell.strip() for cell in line], *rows))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
