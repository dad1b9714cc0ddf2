"""`polyprompt report`."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="Run folders, to stand side by side.")],
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("report.html"),
) -> None:
    """One HTML page that needs no network.

    Example: polyprompt report runs/photos runs/baseline --out report.html
    """
    from polyprompt.report.page import write_page

    write_page(runs, out)
    typer.echo(f"Open {out}")
